//! The one way out: what may be reached, what may not, and by what spelling or trick it is tried.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and print as tests do")]

mod common;
mod web;

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::is_root;
use glasshouse_sandbox::egress::{Access, Policy, Proxy, ProxyConfig, Resolve, Verdict};
use web::{Server, get, policy, proxy, proxy_with, raw, socks, status};

/// Every way to write an IPv4 address, whether in URLs, in IPv6, or by a name of no dots.
fn spellings(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    let bits = address.to_bits();
    let low = u32::from_be_bytes([0, b, c, d]);
    vec![
        format!("{address}"),
        format!("{address}."),
        format!("{bits}"),
        format!("0x{bits:x}"),
        format!("0X{bits:X}"),
        format!("0{bits:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a}.{low}"),
        format!("{a}.{b}.{}", u32::from(c) << 8 | u32::from(d)),
        format!("{a}.0x{b:x}.0{c:o}.{d}"),
        format!("[::ffff:{address}]"),
        format!("[::ffff:{:x}:{:x}]", bits >> 16, bits & 0xffff),
    ]
}

#[tokio::test]
async fn loopback_in_every_spelling() {
    let server = Server::start("127.0.0.1").await;
    let closed = proxy(Policy::default());
    let open = proxy(policy(&["127.0.0.0/8"], &[]));
    for spelling in spellings(Ipv4Addr::LOCALHOST) {
        let url = format!("http://{spelling}:{}/", server.port);
        assert_eq!(status(&get(&open.address, &url).await), 200, "{url} leads there");
        let answer = get(&closed.address, &url).await;
        assert_eq!(status(&answer), 403, "{url}: {answer}");
        assert!(answer.contains("This page is blocked") && answer.contains("the host itself"), "{answer}");
        let answer = raw(&closed.address, &format!("CONNECT {spelling}:{} HTTP/1.1\r\n\r\n", server.port)).await;
        assert_eq!(status(&answer), 403, "CONNECT {spelling}: {answer}");
    }
    // Names, and what only looks public.
    for host in [
        "localhost",
        "LOCALHOST",
        "a.localhost",
        "[::1]",
        "0",
        "0.0.0.0",
        "127.1.2.3",
        "[::]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
    ] {
        let answer = get(&closed.address, &format!("http://{host}:{}/", server.port)).await;
        assert_eq!(status(&answer), 403, "{host}: {answer}");
    }
    assert_eq!(closed.proxy.counts().received, 0);
}

#[test]
fn the_metadata_address_in_every_spelling() {
    if !is_root() {
        return;
    }
    // A network of the test's own, where a server has the address.
    let network = std::thread::spawn(|| {
        // SAFETY: changes the network namespace of this thread, which ends with the test.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        for command in
            ["link set lo up", "addr add 169.254.169.254/32 dev lo", "addr add fd00:ec2::254/128 dev lo nodad"]
        {
            let done = std::process::Command::new("ip").args(command.split(' ')).status().unwrap();
            assert!(done.success(), "ip {command}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::start("169.254.169.254").await;
            let closed = proxy(Policy::default());
            let open = proxy(policy(&["169.254.0.0/16"], &[]));
            for spelling in spellings(Ipv4Addr::new(169, 254, 169, 254)) {
                let url = format!("http://{spelling}:{}/", server.port);
                assert_eq!(status(&get(&open.address, &url).await), 200, "{url} leads there");
                let answer = get(&closed.address, &url).await;
                assert_eq!(status(&answer), 403, "{url}: {answer}");
                assert!(answer.contains("metadata"), "{answer}");
            }
            let server = Server::start("fd00:ec2::254").await;
            let answer = get(&closed.address, &format!("http://[fd00:ec2::254]:{}/", server.port)).await;
            assert_eq!(status(&answer), 403, "{answer}");
        });
    });
    network.join().unwrap();
}

#[tokio::test]
async fn private_networks() {
    let closed = proxy(Policy::default());
    for host in [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.1.1",
        "192.0.0.192",
        "198.18.0.1",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.251",
        "255.255.255.255",
        "168.63.129.16",
        "[fc00::1]",
        "[fd12::1]",
        "[fe80::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[64:ff9b:1::1]",
        "[2002:a00:1::]",
        "[2001:0:1::]",
        "[fec0::1]",
        "[100::1]",
        "[3fff::1]",
    ] {
        let answer = get(&closed.address, &format!("http://{host}/")).await;
        assert_eq!(status(&answer), 403, "{host}: {answer}");
        assert!(answer.contains("leads to"), "{host}: {answer}");
    }
}

/// A resolver with one list of addresses a question, the last of which stays.
fn resolver(answers: &[&[&str]]) -> (Resolve, Arc<AtomicUsize>) {
    let answers: Vec<Vec<IpAddr>> =
        answers.iter().map(|list| list.iter().map(|text| text.parse().unwrap()).collect()).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let resolve: Resolve = Arc::new(move |_, _| {
        let index = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
        let answer = answers[index].clone();
        Box::pin(async move { Ok(answer) })
    });
    (resolve, asked)
}

#[tokio::test]
async fn names_that_lead_to_private_addresses() {
    let server = Server::start("127.0.0.1").await;
    for answer in ["127.0.0.1", "::ffff:127.0.0.1", "::1", "10.1.1.1", "169.254.169.254"] {
        let (resolve, _) = resolver(&[&[answer]]);
        let closed = proxy_with(ProxyConfig { resolve: Some(resolve), ..ProxyConfig::default() });
        let answer = get(&closed.address, &format!("http://innocent.example:{}/", server.port)).await;
        assert_eq!(status(&answer), 403, "{answer}");
        let reply = socks(&closed.address, "innocent.example", server.port).await;
        assert_eq!(reply, 2);
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind() {
    // One address is allowed and stands for the public internet, the other is the victim.
    let [public, victim] = web::same_port(["127.0.0.2", "127.0.0.3"]).await.map(Server::serve);
    let (resolve, asked) = resolver(&[&["127.0.0.2"], &["127.0.0.3"]]);
    let config =
        ProxyConfig { policy: policy(&["127.0.0.2/32"], &[]), resolve: Some(resolve), ..ProxyConfig::default() };
    let one = proxy_with(config);
    let url = format!("http://rebind.example:{}/", public.port);
    assert_eq!(status(&get(&one.address, &url).await), 200);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "a name is resolved once a connection");
    assert_eq!(status(&get(&one.address, &url).await), 403);
    // Both at once: only the one that was judged well is tried.
    let (resolve, _) = resolver(&[&["127.0.0.3", "127.0.0.2"]]);
    let config =
        ProxyConfig { policy: policy(&["127.0.0.2/32"], &[]), resolve: Some(resolve), ..ProxyConfig::default() };
    let both = proxy_with(config);
    assert_eq!(status(&get(&both.address, &url).await), 200);
    assert_eq!((public.requests(), victim.requests()), (2, 0));
}

#[tokio::test]
async fn redirects_are_judged_anew() {
    let public = Server::start("127.0.0.2").await;
    let victim = Server::start("127.0.0.3").await;
    let one = proxy(policy(&["127.0.0.2/32"], &[]));
    let to = format!("http://127.0.0.3:{}/", victim.port);
    let answer = get(&one.address, &format!("http://127.0.0.2:{}/redirect?{to}", public.port)).await;
    assert_eq!(status(&answer), 302);
    assert!(answer.contains(&format!("Location: {to}")), "{answer}");
    assert_eq!(status(&get(&one.address, &to).await), 403);
    assert_eq!(victim.requests(), 0);
}

#[tokio::test]
async fn a_second_request_on_a_connection_goes_nowhere() {
    let public = Server::start("127.0.0.2").await;
    let victim = Server::start("127.0.0.3").await;
    let one = proxy(policy(&["127.0.0.2/32"], &[]));
    let two = format!(
        "GET http://127.0.0.2:{}/ HTTP/1.1\r\n\r\nGET http://127.0.0.3:{}/ HTTP/1.1\r\n\r\n",
        public.port, victim.port
    );
    let answer = raw(&one.address, &two).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("Connection: close"), "{answer}");
    assert_eq!((public.requests(), victim.requests()), (1, 0));
}

#[tokio::test]
async fn bodies_tunnels_and_socks() {
    let server = Server::start("127.0.0.1").await;
    let open = proxy(policy(&["127.0.0.1/32"], &[]));
    let body = "x".repeat(200_000);
    let url = format!("http://127.0.0.1:{}/echo", server.port);
    let post = format!("POST {url} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answer = raw(&open.address, &post).await;
    assert!(answer.ends_with(&body), "the body came back whole");
    let tunnel =
        format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n", server.port);
    let answer = raw(&open.address, &tunnel).await;
    assert!(answer.starts_with("HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 200"), "{answer}");
    for host in ["127.0.0.1", "::ffff:127.0.0.1", "0x7f000001"] {
        assert_eq!(socks(&open.address, host, server.port).await, 0, "{host}");
    }
    assert_eq!(socks(&open.address, "127.0.0.2", server.port).await, 2);
    let counts = open.proxy.counts();
    assert!(counts.sent >= 200_000 && counts.received >= 200_000, "{counts:?}");
    assert_eq!(counts.refused, 1);
}

#[tokio::test]
async fn udp_by_socks_is_not_offered() {
    let one = proxy(policy(&["*", "127.0.0.0/8"], &[]));
    let reply = web::socks_command(&one.address, 3, "127.0.0.1", 53).await;
    assert_eq!(reply, 7);
    let reply = web::socks_command(&one.address, 2, "127.0.0.1", 53).await;
    assert_eq!(reply, 7, "neither is BIND");
}

#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let one = proxy(Policy::default());
    let answer = raw(&one.address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(status(&answer), 400, "{answer}");
    let answer = raw(&one.address, &format!("GET http://a/ HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(100_000))).await;
    assert_eq!(status(&answer), 431, "{answer}");
    let answer = get(&one.address, "http://<script>alert(1)</script>/").await;
    assert!(!answer.contains("<script>"), "{answer}");
}

#[tokio::test]
async fn lists_ports_blocking_and_exposing() {
    let server = Server::start("127.0.0.1").await;
    let (resolve, _) = resolver(&[&["127.0.0.1"]]);
    let lists = policy(&["good.example", "127.0.0.0/8"], &["bad.good.example"]);
    let config = ProxyConfig { policy: lists, resolve: Some(resolve), ..ProxyConfig::default() };
    let one = proxy_with(config);
    let url = |host: &str| format!("http://{host}:{}/", server.port);
    assert_eq!(status(&get(&one.address, &url("good.example")).await), 200);
    assert_eq!(status(&get(&one.address, &url("a.good.example")).await), 200);
    assert_eq!(status(&get(&one.address, &url("bad.good.example")).await), 403);
    assert_eq!(status(&get(&one.address, &url("x.bad.good.example")).await), 403);

    let mut exposing = Policy::default();
    exposing.exposed.insert(3000, server.port);
    one.proxy.set_policy(exposing.clone());
    assert_eq!(status(&get(&one.address, "http://host.glasshouse:3000/").await), 200);
    assert_eq!(status(&get(&one.address, "http://host.glasshouse:3001/").await), 403);
    assert_eq!(status(&get(&one.address, &url("127.0.0.1")).await), 403);
    exposing.block_all = true;
    one.proxy.set_policy(exposing);
    let answer = get(&one.address, "http://host.glasshouse:3000/").await;
    assert!(status(&answer) == 403 && answer.contains("no network"), "{answer}");
}

#[tokio::test]
async fn the_log_tells_what_happened() {
    let server = Server::start("127.0.0.1").await;
    let seen = Arc::new(Mutex::new(Vec::<Access>::new()));
    let writing = Arc::clone(&seen);
    let one = proxy_with(ProxyConfig {
        policy: policy(&["127.0.0.1/32"], &[]),
        log: Some(Arc::new(move |access| writing.lock().unwrap().push(access.clone()))),
        ..ProxyConfig::default()
    });
    get(&one.address, &format!("http://127.0.0.1:{}/", server.port)).await;
    get(&one.address, "http://10.0.0.1/").await;
    web::eventually("two entries", || seen.lock().unwrap().len() == 2).await;
    let seen = seen.lock().unwrap();
    let done = seen.iter().find(|access| access.verdict == Verdict::Allowed).unwrap();
    assert_eq!((done.protocol, done.host.as_str(), done.port), ("HTTP", "127.0.0.1", server.port));
    assert_eq!(done.address, Some(Ipv4Addr::LOCALHOST.into()));
    assert!(done.received > 0 && done.sent > 0);
    assert!(seen.iter().any(|access| access.host == "10.0.0.1" && matches!(access.verdict, Verdict::Refused(_))));
}

#[tokio::test]
async fn connections_wait_for_a_place_and_idle_ones_end() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };
    let server = Server::start("127.0.0.1").await;
    let (target, url) = (format!("127.0.0.1:{}", server.port), format!("http://127.0.0.1:{}/", server.port));
    let mut narrow = policy(&["127.0.0.1/32"], &[]);
    narrow.limits.connections = 2;
    narrow.limits.idle = Duration::from_secs(3_600);
    narrow.limits.head_within = Duration::from_secs(3_600);
    let fill = async |address: &str| {
        let mut tunnels = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            web::tunnel(&mut stream, &target).await;
            tunnels.push(stream);
        }
        tunnels
    };
    // Two tunnels fill it; the third gets its turn when one of them is closed.
    let patient = proxy(narrow.clone());
    let mut tunnels = fill(&patient.address).await;
    assert_eq!(patient.proxy.counts().open, 2);
    let mut third = TcpStream::connect(&patient.address).await.unwrap();
    third.write_all(format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
    // Another proxy's answer proves that there was time for one.
    assert_eq!(status(&get(&proxy(narrow.clone()).address, &url).await), 200);
    assert_eq!((patient.proxy.counts().open, server.requests()), (2, 1));
    drop(tunnels.pop());
    let mut answer = String::new();
    third.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), 200);

    // Or when they are closed because nothing has moved on them.
    narrow.limits.idle = Duration::from_millis(300);
    let hasty = proxy(narrow);
    let tunnels = fill(&hasty.address).await;
    assert_eq!(status(&get(&hasty.address, &url).await), 200);
    for mut stream in tunnels {
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "closed");
    }
    web::eventually("all are closed", || hasty.proxy.counts().open == 0).await;
}

#[tokio::test]
async fn dropping_the_proxy_closes_everything() {
    use tokio::{io::AsyncReadExt, net::TcpStream};
    let server = Server::start("127.0.0.1").await;
    let one = proxy(policy(&["127.0.0.1/32"], &[]));
    let mut stream = TcpStream::connect(&one.address).await.unwrap();
    web::tunnel(&mut stream, &format!("127.0.0.1:{}", server.port)).await;
    let address = one.address.clone();
    let proxy: Proxy = one.proxy;
    drop(proxy);
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
    web::eventually("nobody listens", || std::net::TcpStream::connect(&address).is_err()).await;
}
