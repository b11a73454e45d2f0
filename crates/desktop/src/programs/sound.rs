//! PulseAudio: a sink that writes raw sound into a FIFO, and a virtual microphone.

use std::{
    ffi::{OsStr, OsString},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use super::CommandLine;
use crate::{Error, session::SessionDir, user::run_as};

/// Writes the configuration and returns the command line.
pub(crate) fn command(dir: &SessionDir) -> Result<CommandLine, Error> {
    let program = super::find(OsStr::new("pulseaudio"), "pulseaudio")?;
    let script = format!(
        "load-module module-pipe-sink sink_name=audio_output file={fifo} format=s16le rate=48000 channels=2 \
         use_system_clock_for_timing=yes\n\
         load-module module-null-sink sink_name=audio_input rate=48000 channels=2\n\
         load-module module-virtual-source source_name=microphone master=audio_input.monitor\n\
         set-default-sink audio_output\n\
         set-default-source microphone\n\
         load-module module-suspend-on-idle timeout=1\n\
         load-module module-native-protocol-unix auth-anonymous=1 socket={socket}\n",
        fifo = dir.inside(&dir.sound_fifo()).display(),
        socket = dir.inside(&dir.sound_socket()).display(),
    );
    let script = dir.publish("sound.pa", script.as_bytes())?;
    // A socket left by a killed server looks like a server that is not ready.
    let _ = run_as(dir.user(), || std::fs::remove_file(dir.sound_socket()));
    let mut args: Vec<OsString> = "-n --daemonize=no --exit-idle-time=-1 --disallow-exit=yes --use-pid-file=no \
                                   --realtime=no --high-priority=no --log-target=stderr --log-level=warn -F"
        .split_ascii_whitespace()
        .map(OsString::from)
        .collect();
    args.push(dir.inside(&script).into());
    Ok(CommandLine { program, args })
}

/// Waits until the server takes connections; `false` when it does not in time, or its folder is gone.
pub(crate) fn wait_ready(socket: &Path, deadline: Instant) -> bool {
    while socket.parent().is_some_and(Path::exists) && Instant::now() < deadline {
        if UnixStream::connect(socket).is_ok() {
            return true;
        }
        // Nothing tells when another process calls listen(), so look again and again.
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}
