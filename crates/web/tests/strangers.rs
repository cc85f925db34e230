//! The bounds, with real connections.
#![expect(clippy::disallowed_methods, reason = "tests live in real time: deadlines need the clock")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use http::StatusCode;
use http_body_util::BodyExt as _;
use web::answer;
use web::door::{Door, DoorError};
use web::serve::{Limits, serve};

/// A house that says how long the body was; `/slow` never answers.
fn house() -> Result<SocketAddr> {
    house_that_listens_for(Duration::from_secs(30))
}

fn house_that_listens_for(keep_alive: Duration) -> Result<SocketAddr> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async move {
            let door = Door::open("127.0.0.1:0".parse()?, None).await?;
            sender.send(door.address()?)?;
            let limits = Limits { body_bytes_max: 1024, answer_within: Duration::from_secs(1), keep_alive };
            match serve(door, limits, async |request| {
                if request.uri().path() == "/slow" {
                    std::future::pending::<()>().await;
                }
                let body = request.into_body().collect().await.map(|body| body.to_bytes().len());
                answer::json(StatusCode::OK, &body.unwrap_or_default())
            })
            .await {}
        })
    });
    receiver.recv().context("the house has not opened")
}

/// What comes back for these bytes, until the connection ends.
fn exchange(address: SocketAddr, request: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // A house that has heard enough may close before all is sent.
    let _early = stream.write_all(request);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        .into()
}

#[test]
fn bodies_heads_and_answers_have_bounds() -> Result<()> {
    let house = house()?;
    let fits = exchange(house, &post("/", &"x".repeat(1024)))?;
    ensure!(fits.starts_with("HTTP/1.1 200") && fits.ends_with("\r\n\r\n1024"), "{fits}");
    ensure!(fits.contains("cache-control: no-store"), "{fits}");
    let long = exchange(house, &post("/", &"x".repeat(1025)))?;
    ensure!(long.starts_with("HTTP/1.1 413") && long.contains("\"too_large\""), "{long}");
    let head = exchange(house, format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(64 << 10)).as_bytes())?;
    ensure!(head.starts_with("HTTP/1.1 431") || head.is_empty(), "{head}");
    let slow = exchange(house, &post("/slow", ""))?;
    ensure!(slow.starts_with("HTTP/1.1 503") && slow.contains("\"timeout\""), "{slow}");
    let garbage = exchange(house, b"\x16\x03\x01 this is not HTTP\r\n\r\n")?;
    ensure!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400"), "{garbage}");
    Ok(())
}

#[test]
fn who_says_nothing_is_closed_and_cannot_keep_others_out() -> Result<()> {
    let house = house()?;
    let begun = Instant::now();
    let mut silent: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(house)).collect::<Result<_, _>>()?;
    for stream in &mut silent {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        // Closed in time (408 or nothing), or at once as one too many of this address.
        let _reset = stream.read_to_end(&mut Vec::new());
    }
    let took = begun.elapsed();
    ensure!(took >= Duration::from_secs(4) && took < Duration::from_secs(15), "{took:?}");
    let answer = exchange(house, &post("/", "abc"))?;
    ensure!(answer.ends_with('3'), "{answer}");
    Ok(())
}

#[test]
fn who_does_not_read_is_closed() -> Result<()> {
    let mut stream = TcpStream::connect(house_that_listens_for(Duration::from_secs(2))?)?;
    stream.set_write_timeout(Some(Duration::from_millis(200)))?;
    let begun = Instant::now();
    let requests = "GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000);
    // Until the answers fill every buffer on the way; a write that only has to wait is tried again.
    let closed = loop {
        match stream.write_all(requests.as_bytes()) {
            Err(error) if !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                break true;
            }
            _ if begun.elapsed() > Duration::from_secs(20) => break false,
            _ => {}
        }
    };
    ensure!(closed, "it is still open after {:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn in_the_clear_only_this_host_is_served() -> Result<()> {
    for address in ["0.0.0.0:0", "192.0.2.1:443", "[::]:0"] {
        let refused = Door::open(address.parse()?, None).await;
        ensure!(matches!(refused, Err(DoorError::Clear(_))), "{address}");
    }
    for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        web::door::check(address.parse()?, None)?;
    }
    Ok(())
}
