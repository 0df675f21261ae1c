//! A leader's requests: each is on its way until it arrives, and its answer until it is heard.

use crate::api::{Api, Refusal};
use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives, and its answer too.
    Answered,
    /// It arrives, and its answer is lost.
    AnswerLost,
    /// It never arrives, and nobody says so.
    Lost,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The server refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer: it may have been done.
    #[error("the API server's answer was lost")]
    Unknown,
    /// A look that came to no end.
    #[error("too many steps in a row")]
    Endless,
}

type Request = Box<dyn FnOnce(&mut Api, Fate)>;

/// The line of one worker to the server: one request at a time.
#[derive(Clone, Default)]
pub struct Line(Rc<RefCell<Option<Request>>>);

impl Line {
    /// Sends a request, and waits for its answer.
    ///
    /// # Errors
    /// Any [`CallError`].
    pub async fn call<T: 'static>(
        &self,
        request: impl FnOnce(&mut Api) -> Result<T, Refusal> + 'static,
    ) -> Result<T, CallError> {
        let answer = Rc::new(RefCell::new(None));
        let heard = Rc::clone(&answer);
        let arrive = move |api: &mut Api, fate: Fate| {
            let result = match fate {
                Fate::Answered => request(api).map_err(CallError::from),
                Fate::AnswerLost => {
                    let _ = request(api);
                    Err(CallError::Unknown)
                }
                Fate::Lost => Err(CallError::Unknown),
            };
            *answer.borrow_mut() = Some(result);
        };
        *self.0.borrow_mut() = Some(Box::new(arrive));
        poll_fn(|_| heard.borrow_mut().take().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Whether a request is on its way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The request arrives, or is lost.
    pub fn arrive(&self, api: &mut Api, fate: Fate) {
        let request = self.0.borrow_mut().take();
        if let Some(request) = request {
            request(api, fate);
        }
    }
}
