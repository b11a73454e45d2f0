//! The app, ended and started again because somebody asks for it.

use std::{
    ffi::OsString,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{Kind, Supervisor, program::Exit};
use crate::{App, Error, ProgramState, keeper::ToKeeper};

/// How long an app may take to end by itself, so that a browser can write its profile.
const ENDS_WITHIN: Duration = Duration::from_secs(3);

impl Supervisor {
    pub(super) fn restart_app(&mut self, flags: Vec<OsString>, answer: oneshot::Sender<Result<(), Error>>) {
        match &mut self.app {
            App::Chromium { flags: all, .. } | App::Firefox { flags: all, .. } => *all = flags,
            App::None | App::Command(_) => {
                let error = Error::Invalid("only a browser is started again: this session has another program".into());
                let _ = answer.send(Err(error));
                return;
            }
        }
        if self.asleep.is_some()
            && let Err(error) = self.sleep(false)
        {
            let _ = answer.send(Err(error));
            return;
        }
        self.restarting.push(answer);
        let now = Instant::now();
        let Some(app) = self.program(Kind::App) else { return };
        match app.id {
            Some(id) => {
                // Who does not end is killed when that is due.
                app.due = Some(now + ENDS_WITHIN);
                app.restarts = true;
                if let Some(keeper) = self.starter() {
                    // A keeper that does not listen is gone, which is noticed elsewhere.
                    let _ = keeper.send(&ToKeeper::Close { id }, &[]);
                }
            }
            // It waits for its turn, or was given up.
            None => app.due = Some(now),
        }
    }

    /// Whether the app's end was asked for, and its next start is on its way.
    pub(super) fn app_restarts(&mut self, exit: &Exit, what: &str) -> bool {
        if matches!(exit, Exit::NotStarted(_)) {
            for answer in self.restarting.drain(..) {
                let _ = answer.send(Err(Error::Start { program: "the app".into(), reason: what.to_owned() }));
            }
            return false;
        }
        let Some(app) = self.program(Kind::App) else { return false };
        if !std::mem::take(&mut app.restarts) {
            return false;
        }
        app.due = Some(Instant::now());
        app.overdue = false;
        self.set_state(
            Kind::App,
            ProgramState::Restarting,
            format!("{what}, starting again because that was asked for"),
        );
        true
    }

    /// Answers those who wait for the app, which runs as this process.
    pub(super) fn app_restarted(&mut self, id: u32) {
        if self.program(Kind::App).is_some_and(|app| app.restarts || app.id != Some(id)) {
            return;
        }
        for answer in self.restarting.drain(..) {
            // Nobody may be waiting any more.
            let _ = answer.send(Ok(()));
        }
    }
}
