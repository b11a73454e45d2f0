//! The primary selection: what is marked with the mouse, and put in with its middle button. Text only.

use tokio::sync::oneshot;

use crate::{
    Desktop, Error,
    desktop::{check_clipboard, text},
    x::clipboard::{Command, Selection, What},
};

impl Desktop {
    /// Text that is marked; empty when there is none. At most 16 MiB.
    ///
    /// # Errors
    /// The program that it is marked in does not answer, or it is more.
    pub async fn primary_text(&self) -> Result<String, Error> {
        let (done, answer) = oneshot::channel();
        self.command(Command::Read(Selection::Primary, What::Text, done));
        Ok(text(self.answer(answer).await?.map_err(Error::Invalid)?))
    }

    /// Owns the primary selection with a text; gives it up with none.
    ///
    /// # Errors
    /// It is more than 16 MiB, or the display does not answer.
    pub async fn set_primary(&self, text: Option<String>) -> Result<(), Error> {
        check_clipboard(&text)?;
        let (done, answer) = oneshot::channel();
        self.command(Command::Set { selection: Selection::Primary, text, html: None, done });
        self.answer(answer).await
    }
}
