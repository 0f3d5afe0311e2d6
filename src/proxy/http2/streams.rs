//! The streams of an HTTP/2 connection. Each is a task of its own, so that one which waits holds up
//! no other; the sweep can wake it, and end it without its connection.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::rt::Executor;

use crate::proxy::line::Line;

/// The task of one request.
#[derive(Debug, Default)]
pub struct Stream {
    waker: RefCell<Option<Waker>>,
    ending: Cell<bool>,
}

impl Stream {
    /// Has it look at what was written down of its request.
    pub fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The same, and ends it if it cannot go on even so: a client that does not read keeps hyper
    /// from looking at the body. hyper then resets the stream (RFC 9113, section 5.4.2).
    pub fn end(&self) {
        self.ending.set(true);
        self.wake();
    }

    fn poll<F: Future>(
        self: &Rc<Self>,
        line: &Line,
        task: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut kept = self.waker.borrow_mut();
        if !kept.as_ref().is_some_and(|kept| kept.will_wake(cx.waker())) {
            *kept = Some(cx.waker().clone());
        }
        drop(kept);
        line.runs(Some(Rc::clone(self)));
        let polled = task.poll(cx);
        line.runs(None);
        if polled.is_pending() && !self.ending.get() { Poll::Pending } else { Poll::Ready(()) }
    }
}

/// Runs the streams of a connection on the thread of their connection.
#[derive(Clone, Debug)]
pub struct Streams {
    /// The connection.
    pub line: Rc<Line>,
}

impl<F: Future + 'static> Executor<F> for Streams {
    fn execute(&self, task: F) {
        let line = Rc::clone(&self.line);
        tokio::task::spawn_local(async move {
            let (stream, mut task) = (Rc::new(Stream::default()), pin!(task));
            poll_fn(|cx| stream.poll(&line, task.as_mut(), cx)).await;
        });
    }
}
