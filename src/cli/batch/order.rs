//! Results come as they are ready and leave in order.

use super::super::failure::Failure;
use super::super::report::print;
use std::collections::VecDeque;

/// Results from the first that is not printed.
#[derive(Default)]
pub struct InOrder {
    /// How many are printed.
    printed: usize,
    results: VecDeque<Option<String>>,
    bytes: usize,
}

impl InOrder {
    /// The place of the next result.
    pub fn expect(&mut self) -> usize {
        self.results.push_back(None);
        self.printed + self.results.len() - 1
    }

    /// The result that belongs there.
    pub fn put(&mut self, place: usize, result: String) {
        self.bytes += result.len();
        self.results[place - self.printed] = Some(result);
    }

    /// Bytes of all results that are not printed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Prints what is ready, up to the first that is not.
    pub fn print(&mut self) -> Result<(), Failure> {
        while let Some(Some(_)) = self.results.front() {
            let result = self.results.pop_front().flatten();
            self.printed += 1;
            self.print_one(result)?;
        }
        Ok(())
    }

    /// Prints all that is ready, and no more is to come.
    pub fn print_all(mut self) -> Result<(), Failure> {
        while let Some(result) = self.results.pop_front() {
            self.print_one(result)?;
        }
        Ok(())
    }

    fn print_one(&mut self, result: Option<String>) -> Result<(), Failure> {
        let Some(mut result) = result else { return Ok(()) };
        self.bytes -= result.len();
        result.push('\n');
        print(&result)
    }
}
