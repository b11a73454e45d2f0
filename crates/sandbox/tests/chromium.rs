//! A real Chromium on a real X server within the walls keeps its own sandbox.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and print as tests do")]

mod common;

use std::process::Stdio;

use common::{Killed, Place, modes};

/// Starts everything, waits for the browser's own port, lists its processes, and ends.
const SCRIPT: &str = r#"
Xvnc :7 -SecurityTypes None -geometry 800x600 -rfbport -1 -nolisten tcp >/tmp/x.log 2>&1 &
while [ ! -S /tmp/.X11-unix/X7 ]; do kill -0 $! || { cat /tmp/x.log; exit 3; }; sleep 0.02; done
DISPLAY=:7 /usr/lib/chromium/chromium --user-data-dir=/home/user/p --remote-debugging-port=0 --no-first-run \
    --password-store=basic --disable-breakpad about:blank >/tmp/c.log 2>&1 &
browser=$!
while [ ! -s /home/user/p/DevToolsActivePort ]; do
    kill -0 $browser || { cat /tmp/c.log /tmp/x.log; exit 3; }
    sleep 0.05
done
renderers() {
    for file in /proc/[0-9]*/cmdline; do
        case $(tr '\0' ' ' < $file 2>/dev/null) in
            /usr/lib/chromium/chromium*--type=renderer*) echo $file ;;
        esac
    done
}
# The filter is installed a moment after the process starts, and another may start at any time: each is looked at once.
tries=0
while :; do
    said= open=0
    for file in $(renderers); do
        dir=${file%/cmdline}
        status=$(sed -n 's/^\(Seccomp\|Seccomp_filters\|NoNewPrivs\|CapEff\):[^0-9]*/\1=/p' $dir/status)
        case $status in
            *Seccomp_filters=[3-9]*) ;;
            *) open=1; continue ;;
        esac
        said="$said
renderer "$(echo $status)" user=$(readlink $dir/ns/user) net=$(readlink $dir/ns/net) pid=$(readlink $dir/ns/pid)"
    done
    [ -n "$said" ] && [ $open = 0 ] && break
    tries=$((tries + 1)); [ $tries -gt 1200 ] && exit 4
    sleep 0.05
done
echo "$said"
echo browser $(sed -n 's/^\(Seccomp\|Seccomp_filters\|NoNewPrivs\|CapEff\):[^0-9]*/\1=/p' /proc/$browser/status) \
    user=$(readlink /proc/$browser/ns/user) net=$(readlink /proc/$browser/ns/net) pid=$(readlink /proc/$browser/ns/pid)
"#;

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    line.split(' ').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')).unwrap_or("")
}

#[test]
fn renderers_have_a_filter_and_namespaces_of_their_own() {
    let place = Place::new();
    for mode in modes() {
        let mut command = place.launch(*mode, &[], &["/bin/sh", "-c", SCRIPT]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut child = Killed(child);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.0.stdout.take().unwrap(), &mut said).unwrap();
        assert!(child.0.wait().unwrap().success(), "{mode:?}: {said}");
        println!("{mode:?}:\n{said}");
        let browser = said.lines().find(|line| line.starts_with("browser")).unwrap();
        let renderers: Vec<&str> = said.lines().filter(|line| line.starts_with("renderer")).collect();
        assert!(!renderers.is_empty(), "{said}");
        // The browser has our two filters, a renderer its own on top.
        assert_eq!((field(browser, "Seccomp"), field(browser, "Seccomp_filters")), ("2", "2"));
        for renderer in renderers {
            assert_eq!((field(renderer, "Seccomp"), field(renderer, "NoNewPrivs")), ("2", "1"));
            assert_eq!(field(renderer, "CapEff"), "0000000000000000");
            assert_eq!(field(renderer, "Seccomp_filters"), "3");
            for namespace in ["user", "net", "pid"] {
                assert!(field(renderer, namespace).starts_with(namespace));
                assert_ne!(field(renderer, namespace), field(browser, namespace), "{namespace}");
            }
        }
    }
}
