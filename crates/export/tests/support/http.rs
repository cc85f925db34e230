//! An HTTP receiver that fails as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the receiver does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Keeps it and answers 200 with this body.
    Take(Vec<u8>),
    /// Answers with this status, keeps nothing.
    Status(u16),
    /// Closes the connection without reading the body, which resets it.
    Reset,
    /// Keeps it, and closes the connection instead of answering.
    TakeAndVanish,
    /// Keeps it and never answers.
    TakeAndHang,
}

/// A request as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// In lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

type Decide = dyn Fn(usize, &Request) -> Behaviour + Send + Sync;

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    /// `decide` is given the number of the request, from 0, and the request.
    pub(crate) fn start(decide: impl Fn(usize, &Request) -> Behaviour + Send + Sync + 'static) -> Self {
        Self::accept(decide, Ok)
    }

    /// The same behind TLS.
    pub(crate) fn start_tls(
        config: ServerConfig,
        decide: impl Fn(usize, &Request) -> Behaviour + Send + Sync + 'static,
    ) -> Self {
        let config = Arc::new(config);
        Self::accept(decide, move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
            Ok(StreamOwned::new(connection, stream))
        })
    }

    fn accept<S: Read + Write>(
        decide: impl Fn(usize, &Request) -> Behaviour + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> std::io::Result<S> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let taken: Arc<Mutex<Vec<Request>>> = Arc::default();
        let decide: Arc<Decide> = Arc::new(decide);
        let wrap = Arc::new(wrap);
        let (kept, count) = (Arc::clone(&taken), Arc::new(Mutex::new(0)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, decide, count) = (Arc::clone(&kept), Arc::clone(&decide), Arc::clone(&count));
                let wrap = Arc::clone(&wrap);
                std::thread::spawn(move || serve(wrap(stream.unwrap()).unwrap(), &kept, &*decide, &count));
            }
        });
        Self { address, taken }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    pub(crate) fn taken(&self) -> Vec<Request> {
        self.taken.lock().unwrap().clone()
    }
}

fn serve(stream: impl Read + Write, kept: &Mutex<Vec<Request>>, decide: &Decide, count: &Mutex<usize>) {
    let mut reader = BufReader::new(stream);
    while let Some((mut request, length)) = read_head(&mut reader) {
        let number = {
            let mut count = count.lock().unwrap();
            *count += 1;
            *count - 1
        };
        let early = decide(number, &request);
        if early == Behaviour::Reset {
            return;
        }
        request.body = vec![0; length];
        if reader.read_exact(&mut request.body).is_err() {
            return;
        }
        // Now the body can be judged as well.
        match decide(number, &request) {
            Behaviour::Reset => return,
            Behaviour::Status(status) => {
                write!(reader.get_mut(), "HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
            Behaviour::Take(answer) => {
                kept.lock().unwrap().push(request);
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
                // The client may have been killed.
                let _gone = reader.get_mut().write_all(&[head.as_bytes(), &answer].concat());
            }
            Behaviour::TakeAndVanish => {
                kept.lock().unwrap().push(request);
                return;
            }
            Behaviour::TakeAndHang => {
                kept.lock().unwrap().push(request);
                // Until the client gives up.
                let _end = reader.read(&mut [0]);
                return;
            }
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<(Request, usize)> {
    let mut line = String::new();
    let mut next = |reader: &mut dyn BufRead| {
        line.clear();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        Some(line.trim_end().to_owned())
    };
    let path = next(reader)?.split(' ').nth(1)?.to_owned();
    let mut request = Request { path, ..Request::default() };
    loop {
        let line = next(reader)?;
        if line.is_empty() {
            let length = request.header("content-length").map_or(0, |text| text.parse().unwrap());
            return Some((request, length));
        }
        let (name, value) = line.split_once(':')?;
        request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}
