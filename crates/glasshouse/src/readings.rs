//! Numbers of a session that its room does not know: what goes out of its walls, and what is used within them.

use std::sync::Arc;

use glasshouse_desktop::Desktop;
use glasshouse_neko::{Reading, Readings};
use glasshouse_sandbox::egress::{Counts, Proxy};

use crate::glance;

/// What `/metrics` is told of a desktop and its way out, for as long as there are these.
pub(crate) fn of(desktop: &Arc<Desktop>, way_out: Option<&Arc<Proxy>>) -> Readings {
    // Whoever holds the room must not hold them.
    let (desktop, way_out) = (Arc::downgrade(desktop), way_out.map(Arc::downgrade));
    Arc::new(move || {
        let mut all = Vec::new();
        if let Some(desktop) = desktop.upgrade() {
            all.extend(used(&desktop));
        }
        if let Some(way_out) = way_out.as_ref().and_then(std::sync::Weak::upgrade) {
            all.extend(passed(way_out.counts()));
        }
        all
    })
}

fn counter(name: &'static str, help: &'static str, label: Option<(&'static str, &'static str)>, value: u64) -> Reading {
    // Exact up to 2^53.
    Reading { name, help, label, value: value as f64, counts_up: true }
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Reading {
    Reading { name, help, label: None, value, counts_up: false }
}

fn used(desktop: &Desktop) -> Vec<Reading> {
    let (programs, own) = (desktop.usage().unwrap_or_default(), glance::own());
    let mut all = vec![gauge(
        "glasshouse_session_frozen",
        "1 while the programs are frozen",
        f64::from(u8::from(desktop.is_asleep())),
    )];
    if let Some(cpu) = programs.cpu {
        let (name, help) =
            ("glasshouse_session_cpu_seconds", "Processor time of the programs and of the session itself");
        all.push(Reading { name, help, label: None, value: (cpu + own.cpu).as_secs_f64(), counts_up: true });
    }
    if let Some(memory) = programs.memory {
        let help = "Memory of the programs and of the session itself, cached files included";
        all.push(gauge("glasshouse_session_memory_bytes", help, (memory + own.memory) as f64));
    }
    all.push(gauge("glasshouse_session_own_memory_bytes", "Memory of the session itself", own.memory as f64));
    all
}

fn passed(counts: Counts) -> Vec<Reading> {
    let Counts { sent, received, requests, refused, open } = counts;
    let bytes = "Bytes between the programs and the hosts that they reach";
    vec![
        counter("glasshouse_egress_bytes", bytes, Some(("direction", "out")), sent),
        counter("glasshouse_egress_bytes", bytes, Some(("direction", "in")), received),
        counter("glasshouse_egress_requests", "Requests of the programs for hosts", None, requests),
        counter("glasshouse_egress_refused", "Requests that were refused", None, refused),
        gauge("glasshouse_egress_connections", "Connections of the programs to hosts now", open as f64),
    ]
}
