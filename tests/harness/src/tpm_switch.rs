//! Lets several programs share one software TPM.
//!
//! swtpm serves one connection at a time; an agent keeps its own open for as long as it lives. The switch accepts any number
//! of connections and passes whole commands on, one at a time, as a kernel's TPM device would. Objects are not virtualised:
//! programs other than the agent may only read, extend and reset PCRs.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Size of the header of every TPM command and response: tag u16, size u32, code u32 (TPM 2.0 Part 1, 18).
const HEADER: usize = 10;
/// No command or response of a TPM is larger.
const MAX_SIZE: usize = 64 * 1024;

/// Listens on `port` (commands) and `port + 1` (control) and passes on to `upstream` and `upstream + 1`. The threads live as
/// long as the process.
///
/// # Errors
/// A port is taken, or the TPM does not accept.
pub fn start(port: u16, upstream: u16) -> io::Result<()> {
    let tpm = Arc::new(Mutex::new(TcpStream::connect(("127.0.0.1", upstream))?));
    let commands = TcpListener::bind(("127.0.0.1", port))?;
    let control = TcpListener::bind(("127.0.0.1", port + 1))?;
    thread::spawn(move || {
        for client in commands.incoming().flatten() {
            let tpm = Arc::clone(&tpm);
            thread::spawn(move || serve(client, &tpm));
        }
    });
    thread::spawn(move || {
        for client in control.incoming().flatten() {
            thread::spawn(move || relay_control(client, upstream + 1));
        }
    });
    Ok(())
}

fn serve(mut client: TcpStream, tpm: &Mutex<TcpStream>) -> io::Result<()> {
    client.set_nodelay(true)?;
    loop {
        let command = read_message(&mut client)?;
        let response = {
            let Ok(mut tpm) = tpm.lock() else { return Ok(()) };
            tpm.write_all(&command)?;
            read_message(&mut *tpm)?
        };
        client.write_all(&response)?;
    }
}

fn read_message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut message = vec![0; HEADER];
    stream.read_exact(&mut message)?;
    let size = u32::from_be_bytes([message[2], message[3], message[4], message[5]]) as usize;
    if !(HEADER..=MAX_SIZE).contains(&size) {
        return Err(io::Error::other(format!("a TPM message of {size} bytes")));
    }
    message.resize(size, 0);
    stream.read_exact(&mut message[HEADER..])?;
    Ok(message)
}

/// The control channel is connected anew for each request, so both directions are just copied.
fn relay_control(client: TcpStream, upstream: u16) -> io::Result<()> {
    let tpm = TcpStream::connect(("127.0.0.1", upstream))?;
    let (mut from_client, mut to_tpm) = (client.try_clone()?, tpm.try_clone()?);
    let forward = thread::spawn(move || {
        let copied = io::copy(&mut from_client, &mut to_tpm);
        let _ = to_tpm.shutdown(std::net::Shutdown::Write);
        copied
    });
    let (mut from_tpm, mut to_client) = (tpm, client);
    io::copy(&mut from_tpm, &mut to_client)?;
    let _ = to_client.shutdown(std::net::Shutdown::Both);
    let _ = forward.join();
    Ok(())
}
