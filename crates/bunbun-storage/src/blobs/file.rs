//! A part of a file as a body. What the page cache has is read at once, without another thread;
//! only what has to come from the disk is read on the blocking pool. Frames are large: fewer
//! steps per byte on the way to the socket.

use std::{
    fs::File,
    future::Future,
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bunbun_http::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

/// Bytes of one read from the page cache: enough to make the steps around it cheap, and little
/// enough to stay in the processor's cache until they are sent.
const CACHED_READ: usize = 256 * 1024;
/// Bytes of one read from the disk.
const DISK_READ: usize = 1024 * 1024;

/// A part of a file.
pub(super) struct FileBody {
    /// Elsewhere while a read is under way.
    file: Option<File>,
    position: u64,
    end: u64,
    reading: Option<JoinHandle<(File, io::Result<Vec<u8>>)>>,
}

impl FileBody {
    pub(super) fn new(file: File, range: Range<u64>) -> Self {
        Self {
            file: Some(file),
            position: range.start,
            end: range.end,
            reading: None,
        }
    }

    fn wanted(&self, most: usize) -> usize {
        usize::try_from(self.end - self.position).map_or(most, |left| left.min(most))
    }

    /// Reads from the page cache; `None` where the disk would be needed.
    fn read_cached(&self) -> Option<Vec<u8>> {
        let file = self.file.as_ref()?;
        let mut buffer = vec![0; self.wanted(CACHED_READ)];
        let read = read_without_waiting(file, &mut buffer, self.position)?;
        buffer.truncate(read);
        (read > 0).then_some(buffer)
    }

    fn start_reading(&mut self) {
        let Some(file) = self.file.take() else { return };
        let (position, wanted) = (self.position, self.wanted(DISK_READ));
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; wanted];
            let read = read_some(&file, &mut buffer, position).map(|read| {
                buffer.truncate(read);
                buffer
            });
            (file, read)
        }));
    }

    fn pass(&mut self, buffer: Vec<u8>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if buffer.is_empty() {
            // Contents are never shortened: the disk or somebody's hands are at fault.
            self.position = self.end;
            let error = io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is shorter than it was",
            );
            return Poll::Ready(Some(Err(error.into())));
        }
        self.position += buffer.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(buffer.into()))))
    }
}

/// A read that fails instead of waiting for the disk.
#[cfg(target_os = "linux")]
fn read_without_waiting(file: &File, buffer: &mut [u8], position: u64) -> Option<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut buffers = [io::IoSliceMut::new(buffer)];
    preadv2(file, &mut buffers, position, ReadWriteFlags::NOWAIT).ok()
}

#[cfg(not(target_os = "linux"))]
fn read_without_waiting(_: &File, _: &mut [u8], _: u64) -> Option<usize> {
    None
}

/// Reads until the buffer is full or the file ends.
fn read_some(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], position + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.position >= self.end {
            return Poll::Ready(None);
        }
        if self.reading.is_none() {
            if let Some(buffer) = self.read_cached() {
                return self.pass(buffer);
            }
            self.start_reading();
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let done = ready!(Pin::new(reading).poll(cx));
        self.reading = None;
        match done {
            Ok((file, Ok(buffer))) => {
                self.file = Some(file);
                self.pass(buffer)
            }
            Ok((_, Err(error))) => {
                self.position = self.end;
                Poll::Ready(Some(Err(error.into())))
            }
            Err(error) => {
                self.position = self.end;
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.position >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.position)
    }
}
