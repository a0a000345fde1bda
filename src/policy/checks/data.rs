//! DATA: whether content may come now.

pub(in crate::policy) use super::mail::pressure;
