//! What `/etc` holds inside: a few things of the host that programs need, and files of our own.

use crate::config::{HOME, INNER_ID};

/// Files and directories of the host's `/etc` that are visible inside, where they exist.
pub(super) const FROM_HOST: &[&str] = &[
    "X11",
    "alsa",
    "alternatives",
    "bash.bashrc",
    "ca-certificates",
    "chromium",
    "chromium.d",
    "crypto-policies",
    "drirc",
    "firefox",
    "firefox-esr",
    "fonts",
    "glvnd",
    "gtk-2.0",
    "gtk-3.0",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "localtime",
    "mime.types",
    "opt/chrome",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile",
    "pulse",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
    "vulkan",
    "xdg",
];

/// Files of our own: name and content.
pub(super) fn generated(hostname: &str, machine_id: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "passwd",
            format!(
                "user:x:{INNER_ID}:{INNER_ID}:user:{HOME}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
        ),
        ("group", format!("user:x:{INNER_ID}:\nnogroup:x:65534:\n")),
        ("hosts", format!("127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost ip6-loopback\n")),
        ("hostname", format!("{hostname}\n")),
        ("host.conf", "multi on\n".into()),
        // Names are resolved by the egress proxy; without this the resolver would ask 127.0.0.1 and wait.
        ("resolv.conf", "options timeout:1 attempts:1\n".into()),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files\nservices: files\nprotocols: files\n".into(),
        ),
        ("machine-id", format!("{machine_id}\n")),
    ]
}
