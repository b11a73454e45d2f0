//! Measures the gate against going straight to Chromium, both in one run: `cargo run --release -p glasshouse-cdp --example gate_bench`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement fails by panicking, and prints")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Browser, Client};
use glasshouse_cdp::{Config, Gate, Grant, Policy, Tokens, Upstream};
use serde_json::json;
use tokio::net::TcpListener;

const ROUNDS: usize = 2_000;
const LARGE: usize = 50_000_000;
const LARGE_ROUNDS: usize = 7;

/// Tokens by what they may do, with the name that is printed.
const POWERS: [(&str, &str); 3] = [("everything", "all"), ("but Browser.close", "full"), ("a deny list", "denied")];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1) {
        Some(address) => gate(address).await,
        None => measure().await,
    }
}

/// The gate in a process of its own, so that its memory is its own.
async fn gate(browser: &str) {
    let tokens = Arc::new(Tokens::default());
    tokens.add("all", Grant::new(Policy { browser_close: true, ..Policy::full() }, None));
    tokens.add("full", Grant::new(Policy::full(), None));
    tokens.add("denied", Grant::new(Policy { deny: vec!["Network.*".into()], ..Policy::full() }, None));
    let gate = Gate::new(Config::new(Upstream::tcp(browser.parse().unwrap()), tokens));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    axum::serve(listener, gate.router::<()>()).await.unwrap();
}

struct GateProcess {
    child: Child,
    address: String,
}

impl GateProcess {
    fn start(browser: &str) -> Self {
        // The kernel ends it when we are gone, however that went.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig=KILL", "--"])
            .arg(std::env::current_exe().unwrap())
            .arg(browser)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }

    /// Resident memory in KiB, its highest so far.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for GateProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn measure() {
    let browser = Browser::start().await;
    let straight = browser.straight();
    let gate = GateProcess::start(straight.split('/').nth(2).unwrap());
    let mut clients = vec![("straight", Client::connect(&straight).await.unwrap())];
    for (name, token) in POWERS {
        let url = format!("ws://{}/cdp?token={token}", gate.address);
        clients.push((name, Client::connect(&url).await.unwrap()));
    }
    let page = clients[0].1.page().await;
    let targets = clients[0].1.call("Target.getTargetInfo", json!({}), Some(&page)).await;
    let target = targets["result"]["targetInfo"]["targetId"].as_str().unwrap().to_owned();
    let mut sessions = vec![page];
    for (_, client) in &mut clients[1..] {
        sessions.push(client.attach(&target).await);
    }

    println!("Runtime.evaluate(\"1\"), {ROUNDS} calls each, taken in turns");
    let mut times = vec![Vec::new(); clients.len()];
    for round in 0..ROUNDS + 100 {
        for (number, (_, client)) in clients.iter_mut().enumerate() {
            let start = Instant::now();
            client.evaluate("1", &sessions[number]).await;
            if round >= 100 {
                times[number].push(start.elapsed());
            }
        }
    }
    let base = percentile(&mut times[0], 50);
    for (number, (name, _)) in clients.iter().enumerate() {
        let (p50, p95) = (percentile(&mut times[number], 50), percentile(&mut times[number], 95));
        let added = p50.as_secs_f64() * 1e3 - base.as_secs_f64() * 1e3;
        println!("  {name:18} p50 {p50:9.1?}  p95 {p95:9.1?}  added {added:+.3} ms");
    }

    let before = gate.memory();
    println!("a message of {} MB, {LARGE_ROUNDS} times each, taken in turns", LARGE / 1_000_000);
    let code = format!("'x'.repeat({LARGE})");
    let mut times = vec![Vec::new(); clients.len()];
    for _ in 0..LARGE_ROUNDS {
        for (number, (_, client)) in clients.iter_mut().enumerate() {
            let start = Instant::now();
            client.evaluate(&code, &sessions[number]).await;
            times[number].push(start.elapsed());
        }
    }
    let base = percentile(&mut times[0], 50);
    for (number, (name, _)) in clients.iter().enumerate() {
        let p50 = percentile(&mut times[number], 50);
        let ratio = base.as_secs_f64() / p50.as_secs_f64();
        println!("  {name:18} p50 {p50:9.1?}  {ratio:.2} of the throughput");
    }
    println!(
        "the gate's memory: {before} KiB before, {} KiB at most while {} clients took them",
        gate.memory(),
        POWERS.len()
    );
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}
