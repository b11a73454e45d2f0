//! A session that was started ahead, and becomes somebody's: its screen, what it may reach, and its page are changed while it
//! runs.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use glasshouse_cdp::Gate;
use glasshouse_desktop::{Desktop, Size};
use glasshouse_fleet::Claim;
use glasshouse_sandbox::egress::Proxy;

use crate::{
    cli::{AppName, SessionOptions, WallOptions},
    walls,
};

/// What Chromium opens when it is given no page.
const NEW_TAB: &str = "chrome://newtab/";

/// What is changed.
pub(crate) struct Claimed {
    desktop: Arc<Desktop>,
    gate: Option<Gate>,
    proxy: Option<Arc<Proxy>>,
    walls: WallOptions,
    is_browser: bool,
}

impl Claimed {
    pub(crate) fn new(
        options: &SessionOptions,
        desktop: Arc<Desktop>,
        gate: Option<Gate>,
        proxy: Option<Arc<Proxy>>,
    ) -> Self {
        let is_browser = options.command.is_empty() && options.app != AppName::None;
        Self { desktop, gate, proxy, walls: options.walls.clone(), is_browser }
    }

    /// Routes for the server of this session.
    pub(crate) fn routes(self) -> Router {
        Router::new().route("/managed/warm", post(warm)).route("/managed/claim", post(claim)).with_state(Arc::new(self))
    }

    async fn take(&self, claim: Claim) -> anyhow::Result<()> {
        // First of all, so that nothing is asked for under the policy of before.
        if let Some(proxy) = &self.proxy {
            proxy.set_policy(walls::policy(&self.walls, Some(&claim.reach))?);
        }
        if self.desktop.is_asleep() {
            self.desktop.thaw().await?;
        }
        let size = Size { width: claim.screen.width, height: claim.screen.height };
        let resized = async {
            if size != self.desktop.size() {
                self.desktop.resize(size, 100).await?;
            }
            anyhow::Ok(())
        };
        let led = async {
            match &self.gate {
                Some(gate) => gate.navigate(claim.url.as_deref().unwrap_or(NEW_TAB)).await?,
                None if claim.url.is_some() => anyhow::bail!("there is no way to lead its browser anywhere"),
                None => {}
            }
            Ok(())
        };
        tokio::try_join!(resized, led)?;
        Ok(())
    }
}

/// Answers when the browser can be led anywhere.
async fn warm(State(claimed): State<Arc<Claimed>>) -> Response {
    match &claimed.gate {
        None if claimed.is_browser => {
            (StatusCode::CONFLICT, "its browser cannot be led anywhere: it needs Chromium, walls and --network=egress")
                .into_response()
        }
        None => StatusCode::NO_CONTENT.into_response(),
        Some(gate) => answer(gate.first_page().await.map_err(Into::into)),
    }
}

async fn claim(State(claimed): State<Arc<Claimed>>, Json(claim): Json<Claim>) -> Response {
    answer(claimed.take(claim).await)
}

fn answer(done: anyhow::Result<()>) -> Response {
    match done {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::CONFLICT, format!("{error:#}")).into_response(),
    }
}
