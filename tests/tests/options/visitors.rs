//! A machine that is no good: notes who comes and answers nothing, or that it is busy.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is done with visitors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// The connection is closed at once.
    Closes,
    /// Nothing is said until the visitor leaves.
    Silent,
    /// Whatever is asked, the answer is 503.
    Busy,
}

/// One connection.
#[derive(Debug, Clone)]
pub struct Visit {
    pub came: Instant,
    /// Until the visitor left.
    pub stayed: Option<Duration>,
    /// First byte that was said.
    pub first: Option<u8>,
}

/// The machine.
pub struct Visitors {
    pub port: u16,
    visits: Arc<Mutex<Vec<Visit>>>,
}

impl Visitors {
    pub fn expect(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let visits = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&visits);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut visits = noted.lock().unwrap();
                visits.push(Visit { came: Instant::now(), stayed: None, first: None });
                let number = visits.len() - 1;
                drop(visits);
                let noted = Arc::clone(&noted);
                match manner {
                    Manner::Closes => drop(stream),
                    Manner::Silent => drop(std::thread::spawn(move || listen(stream, number, &noted))),
                    Manner::Busy => drop(std::thread::spawn(move || refuse(stream))),
                }
            }
        });
        Self { port, visits }
    }

    pub fn visits(&self) -> Vec<Visit> {
        self.visits.lock().unwrap().clone()
    }

    /// Times between one visit and the next.
    pub fn pauses(&self) -> Vec<Duration> {
        self.visits().windows(2).map(|pair| pair[1].came - pair[0].came).collect()
    }
}

fn listen(mut stream: TcpStream, number: usize, noted: &Mutex<Vec<Visit>>) {
    let came = Instant::now();
    let mut buffer = [0; 4096];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            break;
        }
        noted.lock().unwrap()[number].first.get_or_insert(buffer[0]);
    }
    noted.lock().unwrap()[number].stayed = Some(came.elapsed());
}

fn refuse(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    // A visitor that is gone needs no answer.
    let _ = stream.read(&mut buffer);
    let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}
