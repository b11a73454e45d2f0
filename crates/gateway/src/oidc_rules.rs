//! Who of an OpenID provider's people may sign in here, by what it says of them.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};

/// Claims of which only a verified one counts, and which claim says so (OpenID Connect Core 1.0, 5.1).
const VERIFIED: [(&str, &str); 2] = [("email", "email_verified"), ("phone_number", "phone_number_verified")];

/// `CLAIM=VALUE`, or `*` for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimRule {
    /// Everybody whom the provider lets in.
    Everybody,
    /// Those of whom it says this: a text, a number or `true` that is the value, or a list that has it.
    Has {
        /// Name of the claim. With dots, it may also be the way into objects: `realm_access.roles`.
        claim: String,
        /// What it must be, exactly.
        value: String,
    },
}

impl FromStr for ClaimRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            _ if text == "*" => Ok(Self::Everybody),
            Some((claim, value)) if !claim.is_empty() && !value.is_empty() => {
                Ok(Self::Has { claim: claim.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!(
                "expected CLAIM=VALUE, such as email=ann@example.com or groups=staff, or '*', got {text:?}"
            )),
        }
    }
}

impl fmt::Display for ClaimRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("*"),
            Self::Has { claim, value } => write!(f, "{claim}={value}"),
        }
    }
}

impl ClaimRule {
    /// Whether it is for somebody of whom the provider says this.
    pub(crate) fn fits(&self, claims: &Map<String, Value>) -> bool {
        let Self::Has { claim, value } = self else { return true };
        let must_be = VERIFIED.iter().find(|(name, _)| name == claim);
        if must_be.is_some_and(|(_, verified)| claims.get(*verified) != Some(&Value::Bool(true))) {
            return false;
        }
        match find(claims, claim) {
            Some(Value::Array(all)) => all.iter().any(|one| is(one, value)),
            Some(one) => is(one, value),
            None => false,
        }
    }
}

fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    // Names may be addresses, with dots of their own.
    claims.get(name).or_else(|| {
        let mut parts = name.split('.');
        let first = claims.get(parts.next()?)?;
        parts.try_fold(first, |value, part| value.get(part))
    })
}

fn is(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Bool(own) => text == if *own { "true" } else { "false" },
        Value::Number(own) => own.to_string() == text,
        _ => false,
    }
}

/// What to call somebody, at most 100 characters.
pub(crate) fn name_of(claims: &Map<String, Value>) -> String {
    let names = ["preferred_username", "email", "name", "sub"];
    let found =
        names.iter().filter_map(|name| claims.get(*name)?.as_str()).map(str::trim).find(|name| !name.is_empty());
    found.unwrap_or("somebody").chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(rule: &str, claims: Value) -> bool {
        rule.parse::<ClaimRule>().unwrap().fits(claims.as_object().unwrap())
    }

    #[test]
    fn rules() {
        use serde_json::json;
        assert!(fits("*", json!({})));
        assert!(fits("groups=staff", json!({ "groups": ["guests", "staff"] })));
        assert!(!fits("groups=staff", json!({ "groups": ["staff2", ["staff"], { "staff": true }] })));
        assert!(!fits("groups=staff", json!({ "groups": "staff,guests" })));
        assert!(fits("realm_access.roles=admin", json!({ "realm_access": { "roles": ["admin"] } })));
        assert!(fits("https://a.example/role=x=y", json!({ "https://a.example/role": "x=y" })));
        assert!(fits("is_admin=true", json!({ "is_admin": true })));
        assert!(!fits("sub=1", json!({ "sub": null })) && !fits("sub=1", json!({})));
        // Anybody can say that they have an address.
        assert!(!fits("email=a@b.c", json!({ "email": "a@b.c" })));
        assert!(!fits("email=a@b.c", json!({ "email": "a@b.c", "email_verified": "true" })));
        assert!(fits("email=a@b.c", json!({ "email": "a@b.c", "email_verified": true })));
        for wrong in ["", "x", "=x", "x=", "**"] {
            assert!(wrong.parse::<ClaimRule>().is_err(), "{wrong}");
        }
        let named = json!({ "sub": "7", "email": "a@b.c", "preferred_username": " " });
        assert_eq!(name_of(named.as_object().unwrap()), "a@b.c");
    }
}
