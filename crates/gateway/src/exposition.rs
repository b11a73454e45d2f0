//! OpenMetrics texts of many sessions as one: each sample gets the session as a label, and families of one name come together.

use std::{collections::BTreeMap, fmt::Write as _};

/// Longest line of a session's text in bytes.
const MAX_LINE: usize = 1_024;
/// Most samples that are taken of one session: it has some hundred.
const MAX_SAMPLES: usize = 2_000;

/// Families by name.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    families: BTreeMap<String, Family>,
}

#[derive(Debug, Default)]
struct Family {
    /// Lines that begin with `#`.
    about: String,
    samples: String,
}

impl Exposition {
    /// Takes over a text (OpenMetrics 1.0, as prometheus-client writes it); what is not understood is left out.
    pub(crate) fn add(&mut self, text: &str, label: &str, value: &str) {
        let mut family = None;
        let mut left = MAX_SAMPLES;
        for line in text.lines().filter(|line| line.len() <= MAX_LINE) {
            if let Some(about) = line.strip_prefix("# ") {
                let mut words = about.splitn(3, ' ');
                let (Some("HELP" | "TYPE" | "UNIT"), Some(name), Some(_)) = (words.next(), words.next(), words.next())
                else {
                    continue;
                };
                if !is_name(name) {
                    continue;
                }
                let known = self.families.entry(name.to_owned()).or_default();
                // Sessions say the same of it; the first counts.
                if known.samples.is_empty() && !known.about.lines().any(|present| present == line) {
                    known.about.push_str(line);
                    known.about.push('\n');
                }
                family = Some(name.to_owned());
            } else if let Some(family) = &family
                && left > 0
                && let Some(sample) = relabelled(line, family, label, value)
                && let Some(known) = self.families.get_mut(family)
            {
                known.samples.push_str(&sample);
                left -= 1;
            }
        }
    }

    /// Writes everything, without an end mark.
    pub(crate) fn write(&self, text: &mut String) {
        for family in self.families.values().filter(|family| !family.samples.is_empty()) {
            // Writing to a string does not fail.
            let _ = write!(text, "{}{}", family.about, family.samples);
        }
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

/// A sample of a family with one label more, first; `None` when it is none of that family.
fn relabelled(line: &str, family: &str, label: &str, value: &str) -> Option<String> {
    let (series, number) = line.rsplit_once(' ')?;
    number.parse::<f64>().ok()?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    if !is_name(name) || !name.starts_with(family) {
        return None;
    }
    let comma = if labels.is_empty() { "" } else { "," };
    Some(format!("{name}{{{label}=\"{value}\"{comma}{labels}}} {number}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sessions_become_one_text() {
        let text = |bytes: u32| {
            format!(
                "# HELP viewers Viewers.\n# TYPE viewers gauge\nviewers 1\n# HELP bytes Bytes.\n# TYPE bytes counter\n\
                 bytes_total{{way=\"in\"}} {bytes}\n# HELP nobody Nobody's.\n# TYPE nobody gauge\n# EOF\n"
            )
        };
        let mut all = Exposition::default();
        all.add(&text(5), "session_id", "a");
        all.add(&text(7), "session_id", "b");
        let mut merged = String::new();
        all.write(&mut merged);
        let bytes = "# HELP bytes Bytes.\n# TYPE bytes counter\nbytes_total{session_id=\"a\",way=\"in\"} 5\nbytes_total{session_id=\"b\",way=\"in\"} 7\n";
        let viewers =
            "# HELP viewers Viewers.\n# TYPE viewers gauge\nviewers{session_id=\"a\"} 1\nviewers{session_id=\"b\"} 1\n";
        assert_eq!(merged, format!("{bytes}{viewers}"));
    }

    #[test]
    fn what_is_no_sample_is_left_out() {
        let mut all = Exposition::default();
        let long = format!("x{{a=\"{}\"}} 1", "y".repeat(MAX_LINE));
        all.add(
            &format!("stray 1\n# TYPE x gauge\nx nothing\nother 1\nx{{ 1\n{long}\nx{{}} 2\n# TYPE 1 2\n"),
            "s",
            "a",
        );
        let mut text = String::new();
        all.write(&mut text);
        assert_eq!(text, "# TYPE x gauge\nx{s=\"a\"} 2\n");
        let mut all = Exposition::default();
        all.add(&format!("# TYPE x gauge\n{}", "x 1\n".repeat(MAX_SAMPLES + 5)), "s", "a");
        let mut text = String::new();
        all.write(&mut text);
        assert_eq!(text.lines().count(), MAX_SAMPLES + 1);
    }
}
