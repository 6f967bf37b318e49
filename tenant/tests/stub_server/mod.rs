//! HTTPS servers with fixed answers, one request per connection.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// Answers by method and path.
pub type Answers = HashMap<String, (u16, Option<Value>)>;

/// A server that runs until the test process ends.
pub struct StubServer {
    pub port: u16,
    requests: Arc<Mutex<Vec<(String, String)>>>,
}

impl StubServer {
    /// Starts a server; what it has no answer for gets 404.
    pub fn start(config: ServerConfig, answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (config, answers, seen) = (Arc::new(config), Arc::new(answers), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, answers, seen) = (Arc::clone(&config), Arc::clone(&answers), Arc::clone(&seen));
                thread::spawn(move || serve(stream, config, &answers, &seen));
            }
        });
        Self { port, requests }
    }

    /// Method and path of each request so far, with its body.
    pub fn requests(&self) -> Vec<(String, String)> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    answers: &Answers,
    seen: &Mutex<Vec<(String, String)>>,
) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    let (head, length) = loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&chunk[..read]);
        if let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&text[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length:").map(|text| text.trim().parse().unwrap())
            });
            break (head, end + 4 + length.unwrap_or(0_usize));
        }
    };
    while text.len() < length {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&chunk[..read]);
    }
    let body = String::from_utf8_lossy(&text[head.len() + 4..]).into_owned();
    let mut words = head.split(' ');
    let request = format!("{} {}", words.next()?, words.next()?);
    seen.lock().unwrap().push((request.clone(), body));
    let (status, answer) = answers.get(&request).cloned().unwrap_or((404, None));
    let answer = answer.map(|answer| answer.to_string()).unwrap_or_default();
    let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}", answer.len());
    stream.write_all(reply.as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}
