//! Messages as bytes: those of a client are cut out of what it sends and looked at before they are read, and rows are put into others.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use pgwire::messages::{DecodeContext, PgWireFrontendMessage as Request, SslNegotiationMetaMessage};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What it is that a client has left.
pub(super) fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// The next message.
pub(super) async fn request(
    stream: &mut (impl AsyncRead + Unpin + ?Sized),
    input: &mut BytesMut,
    context: &DecodeContext,
    largest: usize,
) -> io::Result<Request> {
    loop {
        if let Some(request) = decoded(input, context, largest)? {
            return Ok(request);
        }
        if stream.read_buf(input).await? == 0 {
            return Err(gone());
        }
    }
}

/// The message that the bytes begin with, once it is whole. It is cut out first: what is said of lengths within it must not reach beyond it.
fn decoded(input: &mut BytesMut, context: &DecodeContext, largest: usize) -> io::Result<Option<Request>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let before = usize::from(!context.awaiting_frontend_startup);
    if input.len() < before + 4 {
        return Ok(None);
    }
    let length = (&input[before..]).get_u32() as usize;
    if !(4..=largest).contains(&length) {
        return Err(invalid(format!("a message has {length} bytes; expected 4 to {largest}")));
    }
    if input.len() < before + length {
        input.reserve(before + length - input.len());
        return Ok(None);
    }
    let mut message = input.split_to(before + length);
    let whole = message.clone();
    let short = || invalid("a message is shorter than it says".to_owned());
    // The decoder relies on it.
    if !is_whole(&message, context.awaiting_frontend_startup) {
        return Err(short());
    }
    match Request::decode(&mut message, context) {
        Ok(Some(request)) => {
            // That it is no request for a secret connection is said without taking it.
            if matches!(request, Request::SslNegotiation(SslNegotiationMetaMessage::None)) {
                let rest = std::mem::replace(input, whole);
                input.unsplit(rest);
            }
            Ok(Some(request))
        }
        Ok(None) => Err(short()),
        Err(error) => Err(invalid(error.to_string())),
    }
}

/// Whether everything that a message says it has is within it.
fn is_whole(message: &[u8], is_first: bool) -> bool {
    if is_first {
        // Requests to stop something have a number and a secret.
        return message.len() >= 8 && (message[4..8] != 80_877_102_u32.to_be_bytes() || message.len() >= 16);
    }
    let mut rest = &message[5..];
    let text = |rest: &mut &[u8]| rest.iter().position(|byte| *byte == 0).map(|end| rest.advance(end + 1)).is_some();
    let many = |rest: &mut &[u8], size: usize| {
        let count = usize::from(rest.try_get_u16().unwrap_or_default());
        let has_all = rest.len() >= count * size;
        rest.advance(rest.len().min(count * size));
        has_all
    };
    match message[0] {
        b'Q' | b'p' | b'f' => text(&mut rest),
        b'P' => text(&mut rest) && text(&mut rest) && rest.len() >= 2 && many(&mut rest, 4),
        b'D' | b'C' => rest.try_get_u8().is_ok() && text(&mut rest),
        b'E' => text(&mut rest) && rest.len() >= 4,
        b'B' => {
            let has_names = text(&mut rest) && text(&mut rest) && rest.len() >= 2 && many(&mut rest, 2);
            let Ok(count) = rest.try_get_u16() else { return false };
            let value = |rest: &mut &[u8]| {
                let Ok(length) = rest.try_get_i32() else { return false };
                let length = usize::try_from(length).unwrap_or_default();
                let has_all = rest.len() >= length;
                rest.advance(rest.len().min(length));
                has_all
            };
            has_names && (0..count).all(|_| value(&mut rest)) && rest.len() >= 2 && many(&mut rest, 2)
        }
        _ => true,
    }
}

/// The length of the message that the bytes begin with, once it is whole.
pub(super) fn whole_message(buffer: &BytesMut) -> Option<usize> {
    let length = (buffer.get(1..5)?).get_u32() as usize + 1;
    (buffer.len() >= length).then_some(length)
}

/// A row as a line of COPY.
pub(super) fn copied(row: &[u8], is_csv: bool, output: &mut BytesMut) {
    let mut rest = &row[5..];
    let mut line = String::new();
    for index in 0..rest.get_u16() {
        if index > 0 {
            line.push(if is_csv { ',' } else { '\t' });
        }
        let Ok(length) = usize::try_from(rest.get_i32()) else {
            line.push_str(if is_csv { "" } else { "\\N" });
            continue;
        };
        let text = String::from_utf8_lossy(&rest[..length]);
        rest.advance(length);
        if is_csv {
            line.push_str(&in_csv(&text));
            continue;
        }
        for letter in text.chars() {
            match letter {
                '\\' => line.push_str("\\\\"),
                '\t' => line.push_str("\\t"),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                letter => line.push(letter),
            }
        }
    }
    line.push('\n');
    copy_data(&line, output);
}

pub(super) fn copy_data(line: &str, output: &mut BytesMut) {
    output.put_u8(b'd');
    output.put_u32(u32::try_from(line.len() + 4).unwrap_or_default());
    output.put_slice(line.as_bytes());
}

/// A text that is empty is told from no value.
pub(super) fn in_csv(text: &str) -> String {
    let is_plain = !text.is_empty() && text != "\\." && !text.contains([',', '"', '\n', '\r']);
    if is_plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}
