//! Who may sign in: `glasshouse user …`, and the options of `serve` about it.

use std::{
    fs,
    io::{self, BufRead, IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use glasshouse_fleet::{Users, UsersFile, powers_of_role};
use glasshouse_gateway::{ClaimRule, Config, OidcConfig};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Longest line that is read as a password, in bytes.
const MAX_LINE: u64 = 4_096;

/// People who sign in with a password.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Add somebody. Asks for the password on the terminal, or reads it from the first line of standard input.
    Add(AddOptions),
    /// Give somebody a new password; browsers that are signed in have to sign in again.
    Passwd(NameOptions),
    /// Remove somebody; browsers that are signed in are so no more.
    Rm(NameOptions),
    /// List names and roles.
    Ls(FileOptions),
}

/// Which file.
#[derive(Debug, Args)]
pub(crate) struct FileOptions {
    /// The users file, which `glasshouse serve --users FILE` uses; a running server sees changes at once.
    #[arg(long, env = "GLASSHOUSE_USERS", value_name = "FILE")]
    users: PathBuf,
}

/// Options of `user passwd` and `user rm`.
#[derive(Debug, Args)]
pub(crate) struct NameOptions {
    /// Name to sign in with.
    name: String,
    #[command(flatten)]
    file: FileOptions,
}

/// Options of `user add`.
#[derive(Debug, Args)]
pub(crate) struct AddOptions {
    /// Name to sign in with: letters, digits, '.', '_', '-' and '@'.
    name: String,
    /// `admin`: everything. `user`: view, control and drive sessions of their own. Or powers: view,control,cdp,admin.
    #[arg(long, default_value = "user", value_name = "ROLE", value_parser = parse_role)]
    role: String,
    #[command(flatten)]
    file: FileOptions,
}

fn parse_role(text: &str) -> Result<String, String> {
    powers_of_role(text).map(|_| text.to_owned())
}

/// Does what was asked for.
pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Add(AddOptions { name, role, file: FileOptions { users } }) => {
            let mut file = UsersFile::read(&users)?;
            if file.find(&name).is_some() {
                bail!("{name} is there already: use `glasshouse user passwd`, or `user rm` first");
            }
            file.set(&name, &role, &new_password(&name)?).map_err(anyhow::Error::msg)?;
            file.write(&users)?;
        }
        Verb::Passwd(NameOptions { name, file: FileOptions { users } }) => {
            let mut file = UsersFile::read(&users)?;
            let role = file.find(&name).with_context(|| nobody(&name, &users))?.role.clone();
            file.set(&name, &role, &new_password(&name)?).map_err(anyhow::Error::msg)?;
            file.write(&users)?;
        }
        Verb::Rm(NameOptions { name, file: FileOptions { users } }) => {
            let mut file = UsersFile::read(&users)?;
            if !file.remove(&name) {
                bail!(nobody(&name, &users));
            }
            file.write(&users)?;
        }
        Verb::Ls(FileOptions { users }) => {
            fs::metadata(&users).with_context(|| format!("cannot read {}", users.display()))?;
            let mut out = io::stdout().lock();
            for user in UsersFile::read(&users)?.users() {
                writeln!(out, "{:<32}  {}", user.name, user.role)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn nobody(name: &str, file: &std::path::Path) -> String {
    format!("there is nobody called {name} in {}", file.display())
}

/// Asks for a password, twice on a terminal. Never an argument: others see those.
fn new_password(name: &str) -> anyhow::Result<String> {
    if !io::stdin().is_terminal() {
        return read_line();
    }
    let password = ask(&format!("Password of {name}: "))?;
    if ask("Once more: ")? != password {
        bail!("the two differ: nothing was changed");
    }
    Ok(password)
}

fn ask(question: &str) -> anyhow::Result<String> {
    let mut out = io::stderr();
    write!(out, "{question}")?;
    out.flush()?;
    let silence = Silence::begin()?;
    let answer = read_line();
    drop(silence);
    writeln!(out)?;
    answer
}

fn read_line() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().take(MAX_LINE).read_line(&mut line).context("cannot read the password")?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// The terminal does not show what is typed for as long as this is held.
struct Silence(Termios);

impl Silence {
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(io::stdin()).context("cannot ask on this terminal")?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// How people sign in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Signing in")]
pub(crate) struct SignInOptions {
    /// File of who may sign in with a password; `glasshouse user` makes and changes it, also while the server runs.
    #[arg(long, env = "GLASSHOUSE_USERS", value_name = "FILE")]
    users: Option<PathBuf>,

    /// For how long a browser stays signed in: 30m, 12h, 7d.
    #[arg(long, default_value = "12h", value_name = "TIME", value_parser = crate::serve::parse_time)]
    login_for: u64,

    /// OpenID provider to sign in with, by the address that it names itself with, such as https://accounts.example.com.
    #[arg(long, env = "GLASSHOUSE_OIDC_ISSUER", value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer: Option<String>,

    /// What the provider knows us as. It has to send people back to …/api/v1/login/oidc/callback.
    #[arg(long, env = "GLASSHOUSE_OIDC_CLIENT_ID", value_name = "ID", requires = "oidc_issuer")]
    oidc_client_id: Option<String>,

    /// File with our secret for the provider, if we have one.
    #[arg(long, env = "GLASSHOUSE_OIDC_CLIENT_SECRET_FILE", value_name = "FILE", requires = "oidc_issuer")]
    oidc_client_secret_file: Option<PathBuf>,

    /// What to ask the provider for, besides `openid`.
    #[arg(
        long,
        default_value = "profile,email",
        value_name = "SCOPE",
        value_delimiter = ',',
        requires = "oidc_issuer"
    )]
    oidc_scopes: Vec<String>,

    /// Who of the provider's people may sign in, as `user`: CLAIM=VALUE, such as groups=staff or email=ann@example.com (only
    /// when the provider has verified that), or '*' for all (repeatable).
    #[arg(long, value_name = "CLAIM=VALUE", requires = "oidc_issuer")]
    oidc_users: Vec<ClaimRule>,

    /// Who of them may sign in as `admin`, likewise (repeatable).
    #[arg(long, value_name = "CLAIM=VALUE", requires = "oidc_issuer")]
    oidc_admins: Vec<ClaimRule>,
}

impl SignInOptions {
    /// What the door has to know of it.
    ///
    /// # Errors
    /// A file cannot be used, or nobody could sign in with the provider.
    pub(crate) fn door(&self) -> anyhow::Result<Config> {
        let mut config = Config { login_seconds: self.login_for.max(60), ..Config::default() };
        config.users = self.users.as_deref().map(Users::open).transpose()?.map(Arc::new);
        if let (Some(issuer), Some(client_id)) = (&self.oidc_issuer, &self.oidc_client_id) {
            let secret = self.oidc_client_secret_file.as_ref().map(|path| {
                let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
                text.map(|text| text.trim().to_owned())
            });
            let (admins, users) = (self.oidc_admins.clone(), self.oidc_users.clone());
            let oidc = OidcConfig::new(issuer, client_id, secret.transpose()?, &self.oidc_scopes, admins, users);
            config.oidc = Some(oidc.map_err(anyhow::Error::msg)?);
        }
        Ok(config)
    }
}
