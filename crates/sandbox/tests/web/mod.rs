//! A small web server, clients, and proxies to test with.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use glasshouse_sandbox::egress::{Policy, Proxy, ProxyConfig};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// A web server: `/echo` gives the body back, `/redirect?URL` sends away, `/big?MIB` is big, all else says hello.
pub(crate) struct Server {
    pub(crate) port: u16,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(address: &str) -> Self {
        Self::start_at(address, 0).await
    }

    pub(crate) async fn start_at(address: &str, port: u16) -> Self {
        Self::serve(TcpListener::bind(SocketAddr::new(address.parse::<IpAddr>().unwrap(), port)).await.unwrap())
    }

    pub(crate) fn serve(listener: TcpListener) -> Self {
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(serve(stream, Arc::clone(&counted)));
            }
        });
        Self { port, requests, _tasks: tasks }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Listeners on the same port of two addresses: one that is free at the one may be taken at the other.
pub(crate) async fn same_port(addresses: [&str; 2]) -> [TcpListener; 2] {
    loop {
        let [one, other] = addresses.map(|address| address.parse::<IpAddr>().unwrap());
        let one = TcpListener::bind((one, 0)).await.unwrap();
        match TcpListener::bind((other, one.local_addr().unwrap().port())).await {
            Ok(other) => return [one, other],
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse, "{error}"),
        }
    }
}

async fn serve(mut stream: TcpStream, requests: Arc<AtomicUsize>) {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes.split_off(end);
    let target = head.split(' ').nth(1).unwrap_or("/");
    let answer = if target == "/echo" {
        let length: usize = header(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        while body.len() < length {
            if stream.read_buf(&mut body).await.unwrap_or(0) == 0 {
                return;
            }
        }
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", String::from_utf8_lossy(&body))
    } else if let Some(to) = target.strip_prefix("/redirect?") {
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
    } else if let Some(size) = target.strip_prefix("/big?") {
        let size: usize = size.parse().unwrap_or(0);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", size << 20);
        let block = vec![7_u8; 1 << 20];
        let _ = stream.write_all(head.as_bytes()).await;
        for _ in 0..size {
            if stream.write_all(&block).await.is_err() {
                return;
            }
        }
        return;
    } else {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello".to_owned()
    };
    let _ = stream.write_all(answer.as_bytes()).await;
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A proxy that listens on loopback of the present network.
pub(crate) struct TestProxy {
    pub(crate) address: String,
    pub(crate) proxy: Proxy,
}

pub(crate) fn proxy(policy: Policy) -> TestProxy {
    proxy_with(ProxyConfig { policy, ..ProxyConfig::default() })
}

pub(crate) fn proxy_with(config: ProxyConfig) -> TestProxy {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    TestProxy { address, proxy: Proxy::start(vec![listener.into()], config).unwrap() }
}

pub(crate) fn policy(allow: &[&str], deny: &[&str]) -> Policy {
    let rules = |list: &[&str]| list.iter().map(|rule| rule.parse().unwrap()).collect();
    Policy { allow: rules(allow), deny: rules(deny), ..Policy::default() }
}

/// Sends something and reads to the end.
pub(crate) async fn raw(proxy: &str, ask: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        // Fails when the answer comes before all was read.
        let _ = writing.write_all(ask.as_bytes()).await;
    };
    let (_, read) = tokio::join!(write, reading.read_to_end(&mut answer));
    // A connection that is reset after its answer is as good as one that ends.
    let _ = read;
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) async fn get(proxy: &str, url: &str) -> String {
    raw(proxy, &format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n")).await
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Opens a tunnel.
pub(crate) async fn tunnel(stream: &mut TcpStream, to: &str) {
    stream.write_all(format!("CONNECT {to} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

/// Connects by SOCKS5; the reply code.
pub(crate) async fn socks(proxy: &str, host: &str, port: u16) -> u8 {
    socks_command(proxy, 1, host, port).await
}

pub(crate) async fn socks_command(proxy: &str, command: u8, host: &str, port: u16) -> u8 {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [5, 0]);
    let mut ask = vec![5, command, 0];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            ask.push(1);
            ask.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            ask.push(4);
            ask.extend(address.octets());
        }
        Err(_) => {
            ask.extend([3, u8::try_from(host.len()).unwrap()]);
            ask.extend(host.as_bytes());
        }
    }
    ask.extend(port.to_be_bytes());
    stream.write_all(&ask).await.unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await.unwrap();
    answer[1]
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), wait).await.is_ok(), "not within a minute: {what}");
}
