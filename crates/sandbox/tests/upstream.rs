//! Going out through another proxy: HTTP, HTTPS and SOCKS5, with credentials.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and print as tests do")]

mod web;

use std::sync::{Arc, Mutex};

use glasshouse_sandbox::egress::{Policy, ProxyConfig, Resolve, Upstream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::ring::default_provider, pki_types::PrivateKeyDer},
};
use web::{Server, get, policy, proxy_with, status};

/// An upstream proxy that sends every request to one server, and remembers what it was asked for.
struct Fake {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Fake {
    async fn start(kind: Kind, to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                match &kind {
                    Kind::Http => http(stream, to, &remembered).await,
                    Kind::Socks => {
                        let host = socks(&mut stream).await;
                        remembered.lock().unwrap().push(host);
                        relay(stream, to).await;
                    }
                    Kind::Https(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            http(stream, to, &remembered).await;
                        }
                    }
                }
            }
        });
        Self { port, asked, _tasks: tasks }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

enum Kind {
    Http,
    Https(TlsAcceptor),
    Socks,
}

async fn http(mut stream: impl AsyncRead + AsyncWrite + Unpin, to: u16, asked: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    // "user:pass word"
    let known = web::header(&head, "proxy-authorization") == Some("Basic dXNlcjpwYXNzIHdvcmQ=");
    asked.lock().unwrap().push(head.lines().next().unwrap().to_owned());
    if !known {
        let _ = stream.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        return;
    }
    stream.write_all(b"HTTP/1.1 200 Fine\r\nVia: fake\r\n\r\n").await.unwrap();
    relay(stream, to).await;
}

async fn socks(stream: &mut TcpStream) -> String {
    let mut head = [0; 3];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head, [5, 1, 2], "it has credentials, so it must offer them");
    stream.write_all(&[5, 2]).await.unwrap();
    let mut login = [0; 16];
    stream.read_exact(&mut login).await.unwrap();
    assert_eq!(&login, b"\x01\x04user\x09pass word");
    stream.write_all(&[1, 0]).await.unwrap();
    let mut ask = [0; 4];
    stream.read_exact(&mut ask).await.unwrap();
    let host = match ask[3] {
        1 => {
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).await.unwrap();
            std::net::Ipv4Addr::from(bytes).to_string()
        }
        3 => {
            let mut name = vec![0; stream.read_u8().await.unwrap().into()];
            stream.read_exact(&mut name).await.unwrap();
            String::from_utf8(name).unwrap()
        }
        other => panic!("address of kind {other}"),
    };
    let port = stream.read_u16().await.unwrap();
    stream.write_all(&[5, 0, 0, 3, 4, b'f', b'a', b'k', b'e', 0, 0]).await.unwrap();
    format!("{host}:{port}")
}

async fn relay(mut stream: impl AsyncRead + AsyncWrite + Unpin, to: u16) {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
}

fn names_lead_to(address: &'static str) -> Resolve {
    Arc::new(move |_, _| Box::pin(async move { Ok(vec![address.parse().unwrap()]) }))
}

fn through(upstream: Upstream, policy: Policy, resolve: Resolve) -> web::TestProxy {
    let policy = Policy { upstream: Some(upstream), ..policy };
    proxy_with(ProxyConfig { policy, resolve: Some(resolve), ..ProxyConfig::default() })
}

#[tokio::test]
async fn http_with_credentials() {
    let server = Server::start("127.0.0.1").await;
    let fake = Fake::start(Kind::Http, server.port).await;
    let upstream: Upstream = format!("http://user:pass%20word@127.0.0.1:{}", fake.port).parse().unwrap();
    let one = through(upstream, Policy::default(), names_lead_to("93.184.216.34"));
    assert_eq!(status(&get(&one.address, "http://example.com/").await), 200);
    assert_eq!(fake.asked(), ["CONNECT 93.184.216.34:80 HTTP/1.1"]);
    // What is private stays refused: the upstream proxy could be inside our network.
    assert_eq!(status(&get(&one.address, "http://169.254.169.254/").await), 403);
    assert_eq!(fake.asked().len(), 1);
    let wrong: Upstream = format!("http://user:wrong@127.0.0.1:{}", fake.port).parse().unwrap();
    let one = through(wrong, Policy::default(), names_lead_to("93.184.216.34"));
    let answer = get(&one.address, "http://example.com/").await;
    assert!(status(&answer) == 502 && answer.contains("does not accept its credentials"), "{answer}");
}

#[tokio::test]
async fn names_go_to_the_upstream_proxy_if_wanted() {
    let server = Server::start("127.0.0.1").await;
    let fake = Fake::start(Kind::Http, server.port).await;
    let upstream: Upstream = format!("http://user:pass%20word@127.0.0.1:{}", fake.port).parse().unwrap();
    let one = through(upstream.resolving_there(), policy(&["example.com"], &[]), names_lead_to("10.0.0.1"));
    assert_eq!(status(&get(&one.address, "http://example.com/").await), 200);
    assert_eq!(status(&get(&one.address, "http://example.org/").await), 403);
    assert_eq!(fake.asked(), ["CONNECT example.com:80 HTTP/1.1"]);
}

#[tokio::test]
async fn socks5_with_credentials() {
    let server = Server::start("127.0.0.1").await;
    let fake = Fake::start(Kind::Socks, server.port).await;
    let upstream: Upstream = format!("socks5://user:pass%20word@127.0.0.1:{}", fake.port).parse().unwrap();
    let one = through(upstream, Policy::default(), names_lead_to("93.184.216.34"));
    assert_eq!(status(&get(&one.address, "http://example.com:81/").await), 200);
    assert_eq!(fake.asked(), ["93.184.216.34:81"]);
}

#[tokio::test]
async fn https_with_credentials() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let server = Server::start("127.0.0.1").await;
    let fake = Fake::start(Kind::Https(TlsAcceptor::from(Arc::new(config))), server.port).await;
    let upstream: Upstream = format!("https://user:pass%20word@127.0.0.1:{}", fake.port).parse().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // With the host's authorities its certificate is not good.
    let one = through(upstream.clone(), Policy::default(), names_lead_to("93.184.216.34"));
    assert_eq!(status(&get(&one.address, "http://example.com/").await), 502);
    let one = through(upstream.with_tls(Arc::new(trusting)), Policy::default(), names_lead_to("93.184.216.34"));
    let answer = get(&one.address, "http://example.com/big?3").await;
    assert_eq!(status(&answer), 200);
    assert!(answer.len() > 3 << 20, "whole: {}", answer.len());
    assert_eq!(fake.asked().last().unwrap(), "CONNECT 93.184.216.34:80 HTTP/1.1");
}
