//! The machine and the chain against filters in memory.

mod chain;
mod codec;
mod machine;
