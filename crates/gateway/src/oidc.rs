//! Signing in with an OpenID provider: authorization code with PKCE, state and nonce (OpenID Connect Core 1.0, 3.1; RFC 7636).
//!
//! Nothing that a browser brings decides where it is led: to the provider's address of its own description, and back to the
//! console. What is awaited of a browser is kept here, good once, for ten minutes, and for the browser that began it only.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, Request, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use glasshouse_fleet::{Login, Power, Powers};
use openidconnect::{
    AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce,
    OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, SignatureVerificationError,
    TokenResponse,
    core::{CoreAuthenticationFlow, CoreClient, CoreIdToken, CoreProviderMetadata},
};
use parking_lot::Mutex;
use serde_json::{Map, Value};

pub use crate::oidc_rules::ClaimRule;
use crate::{
    Shared,
    caller::{ClientOf, Query},
    client::Client,
    login,
    oidc_http::{Http, is_loopback},
    oidc_rules::name_of,
    problem::{Answer, Problem},
};

/// Cookie that ties what is awaited to a browser. It comes with the provider's redirect, which is another site's: `Lax`.
const COOKIE: &str = "glasshouse_oidc";
const PATH: &str = "/api/v1/login/oidc";
/// How long a browser may be away at the provider.
const AWAY: Duration = Duration::from_secs(600);
/// Browsers that are away at a time.
const MAX_AWAY: usize = 1_000;
/// How long the provider's description and keys are kept.
const FRESH: Duration = Duration::from_secs(600);
/// A description this old is asked for anew when a key is not in it.
const RENEW_AFTER: Duration = Duration::from_secs(10);
/// Longest subject in bytes (OpenID Connect Core 1.0, 2).
const MAX_SUBJECT: usize = 255;

/// An OpenID provider, and who of its people may sign in.
#[derive(Clone)]
pub struct OidcConfig {
    issuer: String,
    client_id: String,
    client_secret: Option<String>,
    scopes: Vec<String>,
    admins: Vec<ClaimRule>,
    users: Vec<ClaimRule>,
}

impl fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcConfig")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl OidcConfig {
    /// A provider by the address that it names itself with, and how we are known to it. Who fits one of `admins` signs in with
    /// all powers, who fits one of `users` with all over sessions of their own, anybody else not at all.
    ///
    /// # Errors
    /// The address is none, or not encrypted and on another machine; or nobody could sign in.
    pub fn new(
        issuer: &str,
        client_id: &str,
        client_secret: Option<String>,
        scopes: &[String],
        admins: Vec<ClaimRule>,
        users: Vec<ClaimRule>,
    ) -> Result<Self, String> {
        let url = IssuerUrl::new(issuer.to_owned()).map_err(|error| format!("{issuer:?} is no address: {error}"))?;
        let is_own = url.url().host_str().is_some_and(is_loopback);
        if !(url.url().scheme() == "https" || url.url().scheme() == "http" && is_own) {
            return Err(format!("the provider's address has to begin with https://, got {issuer:?}"));
        }
        if admins.is_empty() && users.is_empty() {
            return Err("say who of the provider's people may sign in, with --oidc-users or --oidc-admins".into());
        }
        if admins.contains(&ClaimRule::Everybody) {
            return Err("not everybody can be an admin: name a claim, such as --oidc-admins groups=admins".into());
        }
        let (issuer, client_id) = (issuer.to_owned(), client_id.to_owned());
        Ok(Self { issuer, client_id, client_secret, scopes: scopes.to_vec(), admins, users })
    }

    fn powers(&self, claims: &Map<String, Value>) -> Option<Powers> {
        let fits = |rules: &[ClaimRule]| rules.iter().any(|rule| rule.fits(claims));
        match (fits(&self.admins), fits(&self.users)) {
            (true, _) => Some([Power::Admin].into_iter().collect()),
            (false, true) => Some([Power::View, Power::Control, Power::Cdp].into_iter().collect()),
            (false, false) => None,
        }
    }
}

/// A browser that is away at the provider.
struct Away {
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    /// Where the provider sends it back to, which the exchange of the code has to repeat.
    redirect: RedirectUrl,
    since: Instant,
}

/// A provider.
pub(crate) struct Oidc {
    config: OidcConfig,
    http: Http,
    description: tokio::sync::Mutex<Option<(Instant, CoreProviderMetadata)>>,
    /// By what was sent along as `state`.
    away: Mutex<HashMap<String, Away>>,
}

/// Why somebody is not let in. Told to people by the console, in these words only; details are for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// It began too long ago, in another browser, or was used already.
    Stale,
    /// The provider says no.
    Denied,
    /// The provider does not answer as it should.
    Provider,
    /// They are none of those who may.
    Stranger,
}

impl Refusal {
    fn word(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Denied => "denied",
            Self::Provider => "provider",
            Self::Stranger => "stranger",
        }
    }
}

/// Somebody of the provider's.
struct Found {
    subject: String,
    claims: Map<String, Value>,
}

impl Oidc {
    pub(crate) fn new(config: OidcConfig) -> Self {
        let http = Http::new(config.issuer.starts_with("http:"));
        Self { config, http, description: tokio::sync::Mutex::default(), away: Mutex::default() }
    }

    /// What changes when other people may sign in, or the same mean others.
    pub(crate) fn mark(&self) -> String {
        let list = |rules: &[ClaimRule]| rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let OidcConfig { issuer, client_id, admins, users, .. } = &self.config;
        format!("{issuer} {client_id} | {} | {}", list(admins), list(users))
    }

    /// The provider's description with its keys, no older than `oldest`.
    async fn description(&self, oldest: Duration) -> Result<CoreProviderMetadata, Refusal> {
        let mut kept = self.description.lock().await;
        if let Some((at, description)) = &*kept
            && at.elapsed() < oldest
        {
            return Ok(description.clone());
        }
        let issuer = IssuerUrl::new(self.config.issuer.clone()).map_err(|error| failed("its address", &error))?;
        let http = self.http.asker();
        // Refuses one that names another issuer than it was asked for.
        let found = CoreProviderMetadata::discover_async(issuer, &http).await;
        let found = found.map_err(|error| failed("its description", &error))?;
        *kept = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    /// Where to send a browser, and the value of the cookie that it gets.
    async fn begin(&self, redirect: RedirectUrl) -> Result<(String, String), Refusal> {
        let OidcConfig { client_id, client_secret, scopes, .. } = &self.config;
        let client = CoreClient::from_provider_metadata(
            self.description(FRESH).await?,
            ClientId::new(client_id.clone()),
            client_secret.clone().map(ClientSecret::new),
        )
        .set_redirect_uri(redirect.clone());
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge)
            .url();
        let state = state.into_secret();
        let mut away = self.away.lock();
        away.retain(|_, one| one.since.elapsed() < AWAY);
        if away.len() >= MAX_AWAY {
            return Err(Refusal::Stale);
        }
        away.insert(state.clone(), Away { nonce, verifier, redirect, since: Instant::now() });
        Ok((url.to_string(), state))
    }

    /// Who came back with a code. Whatever comes of it, the same state is good no more.
    async fn end(&self, state: &str, code: String, issuer: Option<&str>) -> Result<Found, Refusal> {
        let away = self.away.lock().remove(state).filter(|away| away.since.elapsed() < AWAY);
        let Away { nonce, verifier, redirect, .. } = away.ok_or(Refusal::Stale)?;
        // RFC 9207: a provider that says who it is says so here too.
        if issuer.is_some_and(|issuer| issuer != self.config.issuer) {
            tracing::warn!("somebody came back from another OpenID provider than they were sent to");
            return Err(Refusal::Stale);
        }
        let OidcConfig { client_id, client_secret, .. } = &self.config;
        let client = |description| {
            let secret = client_secret.clone().map(ClientSecret::new);
            CoreClient::from_provider_metadata(description, ClientId::new(client_id.clone()), secret)
        };
        let description = self.description(FRESH).await?;
        let http = self.http.asker();
        let exchanged = client(description.clone())
            .set_redirect_uri(redirect)
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| failed("its description", &error))?
            .set_pkce_verifier(verifier)
            .request_async(&http)
            .await;
        let answer = exchanged.map_err(|error| failed("the exchange of the code", &error))?;
        let token = answer.id_token().ok_or_else(|| failed("its answer", &"there is no ID token in it"))?;
        // Signature, issuer, audience, time and nonce.
        let checked = match token.claims(&client(description.clone()).id_token_verifier(), &nonce) {
            Err(ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey)) => {
                let newer = self.description(RENEW_AFTER).await?;
                token.claims(&client(newer).id_token_verifier(), &nonce).map(|claims| claims.subject().to_string())
            }
            checked => checked.map(|claims| claims.subject().to_string()),
        };
        let subject = checked.map_err(|error| failed("its ID token", &error))?;
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.chars().any(char::is_control) {
            return Err(failed("its ID token", &"the subject cannot be one"));
        }
        let mut claims = payload(token).ok_or_else(|| failed("its ID token", &"its claims cannot be read"))?;
        if let Some(endpoint) = description.userinfo_endpoint() {
            let more = self.userinfo(endpoint.url().as_str(), answer.access_token().secret()).await;
            // Of somebody else, it says nothing here (OpenID Connect Core 1.0, 5.3.2).
            let more = more.filter(|more| more.get("sub").and_then(Value::as_str) == Some(&subject));
            for (name, value) in more.into_iter().flatten() {
                claims.entry(name).or_insert(value);
            }
        }
        Ok(Found { subject, claims })
    }

    /// What else the provider says of somebody. Many say all in the ID token.
    async fn userinfo(&self, endpoint: &str, token: &str) -> Option<Map<String, Value>> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
        bearer.set_sensitive(true);
        let request = Request::get(endpoint).header(header::AUTHORIZATION, bearer).body(Vec::new()).ok()?;
        match self.http.send(request).await {
            Ok(answer) if answer.status() == StatusCode::OK => serde_json::from_slice(answer.body()).ok(),
            Ok(answer) => {
                tracing::info!(status = %answer.status(), "an OpenID provider says nothing more of somebody");
                None
            }
            Err(error) => {
                tracing::info!(%error, "an OpenID provider says nothing more of somebody");
                None
            }
        }
    }
}

fn failed(what: &str, error: &dyn fmt::Display) -> Refusal {
    tracing::warn!(%error, "cannot sign somebody in with the OpenID provider: {what}");
    Refusal::Provider
}

/// The claims of a token that was verified.
fn payload(token: &CoreIdToken) -> Option<Map<String, Value>> {
    use base64::Engine;
    let text = token.to_string();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok()
}

fn not_here() -> Problem {
    Problem::forbidden("nobody signs in with an OpenID provider here: start the server with --oidc-issuer")
}

/// Back to the console, which says why.
fn refused(client: &Client, refusal: Refusal) -> Response {
    let mut response = Redirect::to(&format!("{}/#signin={}", client.prefix, refusal.word())).into_response();
    if let Some(cookie) = login::set_cookie(client, COOKIE, PATH, "Lax", None) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// Sends a browser to the OpenID provider to sign in.
#[utoipa::path(get, path = "/api/v1/login/oidc", tag = "login", responses(
    (status = 303, description = "To the provider, or back to the console with the reason why not."),
    (status = 403, description = "Nobody signs in that way here.", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "A parameter: there are none.", body = Problem, content_type = "application/problem+json"),
    (status = 429, description = "Too many attempts from this address.", body = Problem, content_type = "application/problem+json", headers(("Retry-After" = u64, description = "Seconds to wait."))),
), security(()))]
pub(crate) async fn start(State(shared): State<Arc<Shared>>, ClientOf(client): ClientOf, query: Query) -> Answer {
    let oidc = shared.sign_in.oidc.as_ref().ok_or_else(not_here)?;
    if let Some((name, _)) = query.0.first() {
        return Err(crate::caller::unknown(name));
    }
    shared.sign_in.brake.take(client.address, None, Instant::now()).map_err(login::too_fast)?;
    let back = RedirectUrl::new(format!("{}{PATH}/callback", client.url())).map_err(|_| Problem::missing())?;
    let (url, state) = match oidc.begin(back).await {
        Ok(begun) => begun,
        Err(refusal) => return Ok(refused(&client, refusal)),
    };
    let cookie = login::set_cookie(&client, COOKIE, PATH, "Lax", Some((&state, AWAY.as_secs())));
    let mut response = Redirect::to(&url).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    Ok(response)
}

/// Where the OpenID provider sends a browser back to.
#[utoipa::path(get, path = "/api/v1/login/oidc/callback", tag = "login", params(
    ("state" = Option<String>, Query, description = "What the browser was sent away with."),
    ("code" = Option<String>, Query, description = "What the provider gave it."),
    ("error" = Option<String>, Query, description = "Why it gave nothing."),
    ("iss" = Option<String>, Query, description = "Which provider it was (RFC 9207)."),
), responses(
    (status = 303, description = "To the console: signed in, or with the reason why not."),
    (status = 403, description = "Nobody signs in that way here.", body = Problem, content_type = "application/problem+json"),
), security(()))]
pub(crate) async fn callback(
    State(shared): State<Arc<Shared>>,
    ClientOf(client): ClientOf,
    headers: HeaderMap,
    query: Query,
) -> Answer {
    let oidc = shared.sign_in.oidc.as_ref().ok_or_else(not_here)?;
    match come_back(&shared, oidc, &client, &headers, &query.0).await? {
        Ok(cookie) => {
            let mut response = Redirect::to(&format!("{}/", client.prefix)).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.append(header::SET_COOKIE, cookie);
            headers.extend(
                login::set_cookie(&client, COOKIE, PATH, "Lax", None).map(|cookie| (header::SET_COOKIE, cookie)),
            );
            Ok(response)
        }
        Err(refusal) => {
            // Anybody can come here with nothing, as often as they like: the log is not filled with that.
            if refusal != Refusal::Stale {
                let detail = format!("oidc: {}", refusal.word());
                shared.fleet.audit(login::audit(&client, "anonymous", "login.failed", "", &detail)).await;
            }
            Ok(refused(&client, refusal))
        }
    }
}

async fn come_back(
    shared: &Shared,
    oidc: &Oidc,
    client: &Client,
    headers: &HeaderMap,
    query: &[(String, String)],
) -> Result<Result<HeaderValue, Refusal>, Problem> {
    let only = |name: &str| {
        let mut all = query.iter().filter(|(key, _)| key == name);
        all.next().filter(|_| all.next().is_none()).map(|(_, value)| value.as_str())
    };
    // A state of another browser's is not looked up: whoever is sent here with one stays who they are.
    let Some(state) = only("state").filter(|state| login::named(headers, COOKIE) == Some(*state)) else {
        return Ok(Err(Refusal::Stale));
    };
    if only("error").is_some() {
        oidc.away.lock().remove(state);
        return Ok(Err(Refusal::Denied));
    }
    let Some(code) = only("code") else { return Ok(Err(Refusal::Stale)) };
    let found = match oidc.end(state, code.to_owned(), only("iss")).await {
        Ok(found) => found,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Some(powers) = oidc.config.powers(&found.claims) else {
        tracing::info!(
            name = name_of(&found.claims),
            "somebody of the OpenID provider's is none of those who may sign in"
        );
        return Ok(Err(Refusal::Stranger));
    };
    let account = format!("oidc:{}#{}", oidc.config.issuer, found.subject);
    let login = Login { account, name: name_of(&found.claims), mark: oidc.mark() };
    let (cookie, _) = login::enter(shared, client, headers, login, powers, "oidc").await?;
    shared.sign_in.brake.give_back(client.address, None);
    Ok(Ok(cookie))
}
