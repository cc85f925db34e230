//! A worker in the foreground, to be measured from outside: `LISTEN-PORT UPSTREAM [CERTIFICATE KEY]`. Ends with its
//! standard input, and prints its counters then.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use model::id::DatabaseId;
use model::mediation::Listener;
use proxy::{
    Certificates, Destination, Hop, HopError, HopRequest, HopStream, Hops, ListenerSpec, Listening, LoginMode,
    Settings, TlsMode, WhenUnrecorded, Worker,
};

struct Direct;

impl Hops for Direct {
    async fn open(&self, request: HopRequest<'_>) -> Result<Hop, HopError> {
        let Destination::Tcp(address) = request.destination else { return Err(HopError::NoAnswer) };
        let stream = TcpStream::connect(address).map_err(HopError::Unreachable)?;
        let cookie = proxy::cookie(&stream).map_err(HopError::Unreachable)?;
        Ok(Hop { stream: HopStream::Tcp(stream), cookie })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [port, upstream, certificate @ ..] = arguments.as_slice() else {
        // Without arguments it is `cargo test` that runs it.
        return;
    };
    let tls = match certificate {
        [chain, key] => {
            let (chain, key) = (std::fs::read(chain).unwrap(), std::fs::read(key).unwrap());
            TlsMode::ServerCertificate(Arc::new(Certificates::from_pem(&chain, &key).unwrap()))
        }
        _ => TlsMode::Relay,
    };
    let (recorder, mut intake) = recorder::pair(8 << 20).unwrap();
    // The core's part, without doing anything with it.
    std::thread::spawn(move || {
        loop {
            intake.drain(100_000, &mut |_| ());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    let spec = ListenerSpec {
        database: DatabaseId(0),
        name: "measured".into(),
        kind: Listener::Plain,
        port: 0,
        upstream: Some(upstream.parse().unwrap()),
        tls,
        login: LoginMode::PassThrough,
        level: recorder::Level::Memory,
        unrecorded: WhenUnrecorded::Continue,
    };
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _end = std::io::stdin().read_line(&mut String::new());
        let _gone = stop.send(());
    });
    local.block_on(&runtime, async move {
        let worker =
            Worker::new(Settings { sessions_per_address_max: 10_000, ..Settings::default() }, recorder, Direct);
        let (time, server) = (worker.clone(), worker.clone());
        tokio::task::spawn_local(async move { time.keep_time().await.unwrap() });
        tokio::task::spawn_local(async move {
            server.serve(spec, Listening::Tcp(listener), Box::new(|| ())).await.unwrap();
        });
        let _stopped = stopped.await;
        println!("{:#?}", worker.stats());
    });
}
