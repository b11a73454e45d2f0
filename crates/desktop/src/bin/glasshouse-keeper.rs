//! The keeper as a program of its own, for this crate's tests.

fn main() -> std::process::ExitCode {
    glasshouse_desktop::keeper::main()
}
