//! The keeper, and the stage of the walls, as a program of its own, for this crate's tests.

fn main() -> std::process::ExitCode {
    if std::env::args().nth(1).as_deref() == Some("sandbox-stage") {
        return glasshouse_sandbox::stage::main();
    }
    glasshouse_desktop::keeper::main()
}
