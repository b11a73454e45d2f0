//! How flags of clients come together with those that the session was started with.

use std::ffi::OsString;

const LOAD: &str = "--load-extension=";
const EXCEPT: &str = "--disable-extensions-except=";
const NONE: &str = "--disable-extensions";

/// All flags: plain ones one after the other, each once; extensions in one flag, or in none if the clients want none.
pub(super) fn merge(base: &[OsString], added: &[String]) -> Vec<OsString> {
    let mut plain: Vec<OsString> = Vec::new();
    let mut folders: Vec<String> = Vec::new();
    let (mut none_by_base, mut none_by_clients) = (false, false);
    let all = base.iter().map(|flag| (flag.clone(), false)).chain(added.iter().map(|flag| (flag.into(), true)));
    for (flag, is_added) in all {
        let text = flag.to_string_lossy().into_owned();
        if let Some(paths) = text.strip_prefix(LOAD).or(text.strip_prefix(EXCEPT)) {
            for path in paths.split(',').map(str::trim).filter(|path| !path.is_empty()) {
                if !folders.iter().any(|known| known == path) {
                    folders.push(path.to_owned());
                }
            }
        } else if text == NONE {
            none_by_clients |= is_added;
            none_by_base |= !is_added;
        } else if !plain.contains(&flag) {
            plain.push(flag);
        }
    }
    let loads = added.iter().any(|flag| flag.starts_with(LOAD) || flag.starts_with(EXCEPT));
    if none_by_clients || none_by_base && !loads {
        plain.push(NONE.into());
    } else if !folders.is_empty() {
        plain.push(format!("{LOAD}{}", folders.join(",")).into());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(base: &[&str], added: &[&str]) -> Vec<String> {
        let base: Vec<OsString> = base.iter().map(Into::into).collect();
        let added: Vec<String> = added.iter().map(|flag| (*flag).to_owned()).collect();
        merge(&base, &added).into_iter().map(|flag| flag.into_string().unwrap()).collect()
    }

    #[test]
    fn rules() {
        assert_eq!(merged(&["--a", "--b=1"], &["--b=2", "--a"]), ["--a", "--b=1", "--b=2"]);
        assert_eq!(
            merged(&["--load-extension=/x,/y"], &["--disable-extensions-except=/z,/x", "--c"]),
            ["--c", "--load-extension=/x,/y,/z"]
        );
        assert_eq!(merged(&["--load-extension=/x"], &["--disable-extensions"]), ["--disable-extensions"]);
        assert_eq!(merged(&["--disable-extensions"], &["--c"]), ["--c", "--disable-extensions"]);
        assert_eq!(merged(&["--disable-extensions"], &["--load-extension=/x"]), ["--load-extension=/x"]);
    }
}
