//! Sockets to listen on.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 4096;

/// Binds an IPv4 or IPv6 address (with or without brackets, `0.0.0.0` and `::` included; the latter also takes IPv4) or
/// the first address of a host name.
///
/// # Errors
/// When the name does not resolve or the address cannot be bound.
pub fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    let host = host.trim().trim_start_matches('[').trim_end_matches(']');
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port),
        Err(_) => (host, port).to_socket_addrs()?.next().ok_or_else(|| {
            io::Error::new(io::ErrorKind::AddrNotAvailable, format!("host name '{host}' has no address"))
        })?,
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    #[test]
    fn binds_every_form_of_address() {
        for (host, reach) in [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("localhost", "localhost")] {
            let port = bind(host, 0).unwrap().local_addr().unwrap().port();
            assert_ne!(port, 0, "{host} {reach}");
        }
        if let Ok(listener) = bind("::", 0) {
            let port = listener.local_addr().unwrap().port();
            TcpStream::connect(("127.0.0.1", port)).unwrap();
            TcpStream::connect(("::1", port)).unwrap();
        }
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        assert!(bind("no-such-host.invalid", 0).is_err());
    }
}
