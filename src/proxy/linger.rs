//! A connection that Weir closes while its client still sends.
//!
//! A socket that is closed with bytes unread is reset, and a reset takes the answer away from a
//! client that has not read it yet (RFC 9112, section 9.6). So what still comes is read and thrown
//! away for a while; the client has been told by then that nothing more will follow.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::io::Socket;
use super::line::Line;

/// How long at all; a client that still does not look for an answer will not look for one.
const LINGER_MAX: Duration = Duration::from_secs(30);

/// How long without a byte: it has heard, or is gone.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Bytes that are thrown away, what is on its way of most uploads when they are refused.
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 16 * 1024;

/// Ends this side of `socket`, and waits until the client of `line`, which has been answered, has ended
/// its own.
pub async fn linger(line: &Line, mut socket: Socket) {
    let discard = async {
        _ = socket.shutdown().await;
        let (mut piece, mut left) = (vec![0; PIECE_BYTES], BYTES_MAX);
        while let Ok(Ok(1..)) = timeout(SILENCE_MAX, read(&mut socket, &mut piece, &mut left)).await
        {
        }
    };
    _ = line.unless_closing(timeout(LINGER_MAX, discard)).await;
}

/// Reads a piece; none when enough was read.
async fn read(socket: &mut Socket, piece: &mut [u8], left: &mut usize) -> std::io::Result<usize> {
    let most = piece.len().min(*left);
    let read = socket.read(&mut piece[..most]).await?;
    *left -= read;
    Ok(read)
}
