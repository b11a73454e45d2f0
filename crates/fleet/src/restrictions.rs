//! What one session is kept within: its share of the machine, and what it may reach; and what of that its server leaves to
//! whoever creates it.

use glasshouse_sandbox::egress::{Rule, Upstream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::FieldError;

/// Most rules of a list.
const MAX_RULES: usize = 256;
/// Longest rule, and address of a proxy, in bytes.
const MAX_RULE: usize = 300;
const MAX_PROXY: usize = 2_048;

/// Most of a machine that a session may use; the server has defaults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Memory of all programs together, /tmp and /dev/shm included, in MiB.
    #[schema(minimum = 64, maximum = 1048576, example = 2048)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Processes and threads of all programs together.
    #[schema(minimum = 32, maximum = 1000000, example = 1024)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
    /// Processor time of all programs together, in processors.
    #[schema(minimum = 0.01, maximum = 1024, example = 1.5)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Profile, downloads and other files together, in MiB. The session ends when it has more.
    #[schema(minimum = 64, maximum = 1048576, example = 4096)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u64>,
}

/// What a session may reach; the public internet, if nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Egress {
    /// If not empty, only these: `example.com` (and what is below it), `*.example.com`, `10.0.0.0/8`, with `:PORT` or without.
    /// A range of addresses opens private ones as well, and takes a token with the power `admin`.
    #[schema(max_items = 256, example = json!(["example.com"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// Never these, written likewise.
    #[schema(max_items = 256)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Nothing at all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub block_all: bool,
    /// Proxy that all goes through: `http://user:password@host:port`, or `https` or `socks5`. The user and the password are
    /// never shown again. One that is not on a public address takes a token with the power `admin`.
    #[schema(max_length = 2048, example = "socks5://user:password@proxy.example:1080")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_proxy: Option<String>,
}

/// What a server leaves to whoever creates a session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Whether sessions have walls, without which there are no limits and no way out to watch.
    pub has_walls: bool,
    /// Whether what sessions reach goes through a proxy of ours.
    pub has_egress: bool,
    /// Whether a session may say what it may reach; not, where the server has a list for all of them.
    pub may_allow: bool,
    /// Whether a session may have a proxy; not, where the server has one for all of them.
    pub may_proxy: bool,
    /// The most that a session may ask for.
    pub most: Resources,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { has_walls: true, has_egress: true, may_allow: true, may_proxy: true, most: Resources::default() }
    }
}

fn wrong(field: &str, message: impl Into<String>) -> FieldError {
    FieldError { field: field.to_owned(), message: message.into() }
}

fn range<T: PartialOrd + std::fmt::Display + Copy>(
    all: &mut Vec<FieldError>,
    field: &str,
    value: Option<T>,
    least: T,
    most: T,
    unit: &str,
) {
    if value.is_some_and(|value| !(least..=most).contains(&value)) {
        all.push(wrong(field, format!("from {least} to {most} {unit}")));
    }
}

impl Resources {
    /// What cannot be used of it.
    pub(crate) fn wrong(&self) -> Vec<FieldError> {
        let mut all = Vec::new();
        range(&mut all, "limits.memory_mib", self.memory_mib, 64, 1_048_576, "MiB");
        range(&mut all, "limits.pids", self.pids, 32, 1_000_000, "processes");
        range(&mut all, "limits.cpu", self.cpu, 0.01, 1_024.0, "processors");
        range(&mut all, "limits.disk_mib", self.disk_mib, 64, 1_048_576, "MiB");
        all
    }

    fn beyond(&self, most: &Self) -> Vec<FieldError> {
        fn check<T: PartialOrd + std::fmt::Display>(
            all: &mut Vec<FieldError>,
            field: &str,
            value: Option<T>,
            most: Option<T>,
        ) {
            if let (Some(value), Some(most)) = (value, most)
                && value > most
            {
                all.push(wrong(field, format!("this server gives a session {most} at most")));
            }
        }
        let mut all = Vec::new();
        check(&mut all, "limits.memory_mib", self.memory_mib, most.memory_mib);
        check(&mut all, "limits.pids", self.pids, most.pids);
        check(&mut all, "limits.cpu", self.cpu, most.cpu);
        check(&mut all, "limits.disk_mib", self.disk_mib, most.disk_mib);
        all
    }
}

impl Egress {
    /// What cannot be used of it.
    pub(crate) fn wrong(&self) -> Vec<FieldError> {
        let mut all = Vec::new();
        for (name, list) in [("allow", &self.allow), ("deny", &self.deny)] {
            if list.len() > MAX_RULES {
                all.push(wrong(&format!("egress.{name}"), format!("at most {MAX_RULES} hosts")));
            }
            for (at, rule) in list.iter().enumerate().take(MAX_RULES) {
                let parsed =
                    if rule.len() > MAX_RULE { Err("too long".to_owned()) } else { rule.parse::<Rule>().map(drop) };
                if let Err(reason) = parsed {
                    let message = format!("example.com, *.example.com or 10.0.0.0/8, with :PORT or without ({reason})");
                    all.push(wrong(&format!("egress.{name}.{at}"), message));
                }
            }
        }
        if let Some(proxy) = &self.upstream_proxy {
            let parsed =
                if proxy.len() > MAX_PROXY { Err("too long".to_owned()) } else { proxy.parse::<Upstream>().map(drop) };
            if let Err(reason) = parsed {
                all.push(wrong("egress.upstream_proxy", reason));
            }
        }
        if self.block_all && !(self.allow.is_empty() && self.upstream_proxy.is_none()) {
            all.push(wrong("egress.block_all", "nothing can be allowed then: leave out allow and upstream_proxy"));
        }
        all
    }

    /// What only an admin may ask for.
    fn beyond_control(&self) -> Vec<FieldError> {
        let is_range = |rule: &String| rule.parse::<Rule>().is_ok_and(|rule| rule.is_range());
        let ranges = self.allow.iter().enumerate().filter(|(_, rule)| is_range(rule));
        let message = "a range of addresses opens private ones, which takes a token with the power admin";
        ranges.map(|(at, _)| wrong(&format!("egress.allow.{at}"), message)).collect()
    }

    /// The same without the credentials of the proxy.
    #[must_use]
    pub(crate) fn public(&self) -> Self {
        let hide = |url: &String| match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => url.clone(),
        };
        Self { upstream_proxy: self.upstream_proxy.as_ref().map(hide), ..self.clone() }
    }
}

impl Bounds {
    /// What of a session's wishes the server, or its creator's power, does not allow.
    pub(crate) fn wrong(&self, limits: Option<&Resources>, egress: Option<&Egress>, is_admin: bool) -> Vec<FieldError> {
        let mut all = Vec::new();
        if let Some(limits) = limits {
            if self.has_walls {
                all.extend(limits.beyond(&self.most));
            } else if *limits != Resources::default() {
                all.push(wrong("limits", "this server's sessions have no walls, and so no limits"));
            }
        }
        let Some(egress) = egress.filter(|egress| **egress != Egress::default()) else { return all };
        if !self.has_egress {
            all.push(wrong("egress", "this server's sessions share its network: nothing can be kept from them"));
        }
        if !self.may_allow && !egress.allow.is_empty() {
            all.push(wrong("egress.allow", "this server says itself what its sessions may reach"));
        }
        if !self.may_proxy && egress.upstream_proxy.is_some() {
            all.push(wrong("egress.upstream_proxy", "this server has a proxy for all its sessions"));
        }
        if !is_admin {
            all.extend(egress.beyond_control());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(wrong: &[FieldError]) -> Vec<&str> {
        wrong.iter().map(|wrong| wrong.field.as_str()).collect()
    }

    #[test]
    fn numbers_within_reason() {
        let limits = Resources { memory_mib: Some(63), pids: Some(31), cpu: Some(0.0), disk_mib: Some(1 << 30) };
        assert_eq!(fields(&limits.wrong()), ["limits.memory_mib", "limits.pids", "limits.cpu", "limits.disk_mib"]);
        let limits = Resources { memory_mib: Some(512), pids: Some(64), cpu: Some(0.5), disk_mib: None };
        assert_eq!(limits.wrong(), []);
        let bounds = Bounds { most: Resources { memory_mib: Some(256), ..Resources::default() }, ..Bounds::default() };
        assert_eq!(fields(&bounds.wrong(Some(&limits), None, true)), ["limits.memory_mib"]);
        let bare = Bounds { has_walls: false, has_egress: false, ..Bounds::default() };
        assert_eq!(fields(&bare.wrong(Some(&limits), Some(&Egress::default()), true)), ["limits"]);
    }

    #[test]
    fn hosts_and_proxies() {
        let egress = Egress {
            allow: vec!["example.com".into(), "a b".into(), "10.0.0.0/8".into()],
            deny: vec!["*.x.org:99999".into()],
            block_all: true,
            upstream_proxy: Some("ftp://joe:secret@host".into()),
        };
        let wrong = egress.wrong();
        assert_eq!(
            fields(&wrong),
            ["egress.allow.1", "egress.deny.0", "egress.upstream_proxy", "egress.block_all"],
            "{wrong:?}"
        );
        assert!(!format!("{wrong:?}").contains("secret"));
        assert_eq!(fields(&Bounds::default().wrong(None, Some(&egress), false)), ["egress.allow.2"]);
        assert_eq!(Bounds::default().wrong(None, Some(&egress), true), []);
        let strict = Bounds { may_allow: false, may_proxy: false, ..Bounds::default() };
        assert_eq!(fields(&strict.wrong(None, Some(&egress), true)), ["egress.allow", "egress.upstream_proxy"]);
    }

    #[test]
    fn credentials_are_not_shown() {
        let with = |url: &str| Egress { upstream_proxy: Some(url.into()), ..Egress::default() };
        for url in ["http://joe:secret@host:1", "socks5://joe:s@cret@host:1"] {
            let shown = with(url).public().upstream_proxy.unwrap();
            assert!(shown.ends_with("://host:1"), "{shown}");
        }
        assert_eq!(with("http://host:1").public(), with("http://host:1"));
    }
}
