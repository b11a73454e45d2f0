//! `/cdp/tokens`: tokens with less power, made by holders of full power.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};

use crate::{Grant, MAX_PATIENCE, Policy, Power, address::Public, gate::Inner, problem::Problem};

/// Longest body in bytes.
const MAX_BODY: usize = 64 * 1024;
/// Life of a token that does not say.
const LIFETIME: u64 = 24 * 3_600;
/// Shortest and longest life in seconds.
const LIFETIMES: std::ops::RangeInclusive<u64> = 60..=30 * 24 * 3_600;

/// Makes a token (`POST`) or takes one back (`DELETE`).
pub(crate) async fn answer(
    gate: &Inner,
    method: &Method,
    body: Body,
    grant: &Grant,
    public: &Public,
) -> Result<Response, Problem> {
    if grant.policy.is_strict() {
        let text = "this token's power is limited, so it makes and ends no others: use one with full power";
        return Err(Problem::new(StatusCode::FORBIDDEN, text));
    }
    let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| bad("the body is too long".into()))?;
    let body: Value = match body.trim_ascii() {
        b"" => json!({}),
        body => serde_json::from_slice(body).map_err(|error| bad(format!("the body is no JSON: {error}")))?,
    };
    let Value::Object(fields) = body else { return Err(bad("the body must be a JSON object".into())) };
    match *method {
        Method::POST => make(gate, &fields, grant, public),
        Method::DELETE => match fields.get("token").and_then(Value::as_str) {
            Some(token) if gate.config.access.revoke(token) => Ok(StatusCode::NO_CONTENT.into_response()),
            Some(_) => Err(Problem::new(StatusCode::NOT_FOUND, "there is no such token")),
            None => Err(bad("name the token to take back: {\"token\": \"…\"}".into())),
        },
        _ => Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "POST makes a token, DELETE takes one back")),
    }
}

fn make(gate: &Inner, fields: &Map<String, Value>, grant: &Grant, public: &Public) -> Result<Response, Problem> {
    let (policy, lifetime) = read(fields).map_err(|text| Problem::new(StatusCode::BAD_REQUEST, text))?;
    let mut policy = policy.within(&grant.policy);
    policy.folder = policy.folder.or_else(|| gate.config.folder.clone());
    let mut expires = Instant::now() + lifetime;
    if let Some(outer) = grant.expires {
        expires = expires.min(outer);
    }
    let token = gate.config.access.issue(policy, Some(expires)).ok_or_else(|| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "there are too many tokens: end some, or wait until they expire")
    })?;
    let left = expires.saturating_duration_since(Instant::now()).as_secs_f64().round();
    let body = json!({ "url": public.entrance(&token), "token": token, "expires_in": left });
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response())
}

/// A policy and a lifetime from a request. What is not understood is an error: it may have been meant as a limit.
fn read(fields: &Map<String, Value>) -> Result<(Policy, Duration), String> {
    let (mut policy, mut lifetime) = (Policy::full(), LIFETIME);
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("power", Value::String(power)) => {
                policy.power = match power.as_str() {
                    "full" => Power::Full,
                    "read-only" => Power::ReadOnly,
                    _ => return Err("power must be full or read-only".into()),
                }
            }
            ("deny", Value::Array(methods)) => {
                let methods: Option<Vec<_>> = methods.iter().map(|one| one.as_str().map(str::to_owned)).collect();
                policy.deny = methods.ok_or("deny must be a list of CDP methods")?;
            }
            ("browser_close", Value::Bool(may)) => policy.browser_close = *may,
            ("patience", seconds) => {
                let time = seconds.as_u64().map(Duration::from_secs).filter(|time| *time <= MAX_PATIENCE);
                policy.patience = Some(time.ok_or("patience must be from 0 (fails at once) to 600 seconds")?);
            }
            ("expires_in", seconds) => {
                lifetime = seconds.as_u64().filter(|seconds| LIFETIMES.contains(seconds)).ok_or_else(|| {
                    format!("expires_in must be from {} to {} seconds", LIFETIMES.start(), LIFETIMES.end())
                })?;
            }
            _ => {
                return Err(format!(
                    "{name:?} is unknown or of the wrong type: use power, deny, browser_close, patience, expires_in"
                ));
            }
        }
    }
    policy.check()?;
    Ok((policy, Duration::from_secs(lifetime)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> Result<(Policy, Duration), String> {
        read(value.as_object().unwrap())
    }

    #[test]
    fn limits_are_read_or_refused() {
        let (policy, lifetime) =
            fields(json!({ "power": "read-only", "deny": ["A.b"], "browser_close": true, "expires_in": 60 })).unwrap();
        assert_eq!(policy, Policy { deny: vec!["A.b".into()], browser_close: true, ..Policy::read_only() });
        assert_eq!(lifetime, Duration::from_secs(60));
        assert_eq!(fields(json!({})).unwrap().0, Policy::full());
        assert_eq!(fields(json!({ "patience": 0 })).unwrap().0.patience, Some(Duration::ZERO));
        for wrong in [
            json!({ "power": "readonly" }),
            json!({ "power": 1 }),
            json!({ "deny": "A.b" }),
            json!({ "deny": [1] }),
            json!({ "deny": ["A"] }),
            json!({ "denied": ["A.b"] }),
            json!({ "expires_in": 59 }),
            json!({ "expires_in": -1 }),
            json!({ "expires_in": 1e99 }),
            json!({ "browser_close": "no" }),
            json!({ "patience": 601 }),
            json!({ "patience": "wait" }),
        ] {
            assert!(fields(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
