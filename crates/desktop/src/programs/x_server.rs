//! Xvnc: an X server that takes any screen size, with an RFB server on a private Unix socket.

use std::{
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::Path,
};

use super::CommandLine;
use crate::{Error, Size, session::SessionDir};

/// Descriptor on which the server reports that it is ready.
pub(crate) const READY_FD: i32 = 3;

/// First display number that we try; below are those that people's own desktops use.
const FIRST_DISPLAY: u16 = 10;

/// The server for a display number.
pub(crate) fn command(
    number: u16,
    size: Size,
    glx: bool,
    dir: &SessionDir,
    xauthority: &Path,
) -> Result<CommandLine, Error> {
    let program = super::find(OsStr::new("Xvnc"), "tigervnc-standalone-server")?;
    let mut args: Vec<OsString> = vec![
        format!(":{number}").into(),
        "-displayfd".into(),
        READY_FD.to_string().into(),
        "-auth".into(),
        dir.inside(xauthority).into(),
        "-geometry".into(),
        format!("{}x{}", size.width, size.height).into(),
        "-rfbunixpath".into(),
        dir.inside(&dir.rfb_socket()).into(),
    ];
    // Port -1: RFB is on the Unix socket alone, where only we can connect; hence no password, and nobody to keep out for wrong
    // ones. Whoever watches would be sent the clipboard, which is for the one in control alone; no program can change that.
    let fixed = "-rfbunixmode 0600 -rfbport -1 -SecurityTypes None -UseBlacklist=0 -AlwaysShared -SendCutText=0 \
                 -SetPrimary=0 -AllowOverride= -depth 24 -nolisten tcp -noreset \
                 -br -s 0 -IdleTimeout 0 -desktop glasshouse -Log *:stderr:10";
    args.extend(fixed.split_ascii_whitespace().map(OsString::from));
    if !glx {
        args.extend(["-extension", "GLX"].map(OsString::from));
    }
    Ok(CommandLine { program, args })
}

/// Display numbers that look free, in the order to try them.
pub(crate) fn free_numbers() -> impl Iterator<Item = u16> {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    (FIRST_DISPLAY..10_000).filter(move |number| {
        let socket = format!("/tmp/.X11-unix/X{number}");
        !Path::new(&format!("/tmp/.X{number}-lock")).exists()
            && !Path::new(&socket).exists()
            && !sockets.lines().any(|line| line.ends_with(&socket))
    })
}

/// Keeps other desktops off a display number while it is open. Two servers that race for a number break each other's
/// sockets. The lock is a name in the abstract socket namespace: it goes with its holder and leaves no file.
pub(crate) fn lock_number(number: u16) -> Option<OwnedFd> {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    };
    let address = SocketAddr::from_abstract_name(format!("glasshouse-display-{number}")).ok()?;
    UnixDatagram::bind_addr(&address).ok().map(OwnedFd::from)
}

/// Whether the server failed because another one was faster with the number.
pub(crate) fn number_was_taken(log: &str) -> bool {
    ["already active", "already running", "listening sockets", "lock file"].iter().any(|sign| log.contains(sign))
}

/// A cookie file for any host name and display number.
pub(crate) fn xauthority(name: &[u8], data: &[u8]) -> Vec<u8> {
    const FAMILY_WILD: u16 = 0xffff;
    let mut file = FAMILY_WILD.to_be_bytes().to_vec();
    for field in [b"".as_slice(), b"", name, data] {
        file.extend(u16::try_from(field.len()).unwrap_or(0).to_be_bytes());
        file.extend(field);
    }
    file
}

/// Makes the folder for display sockets: an unprivileged server must not be the one who owns it.
pub(crate) fn make_socket_folder() -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = Path::new("/tmp/.X11-unix");
    if rustix::process::geteuid().is_root() && !folder.exists() {
        std::fs::create_dir(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o1777))?;
    }
    Ok(())
}
