//! Lookups as the expressions of one shard ask them: the shared lists, and what the shard wrote over them.

use std::rc::Rc;
use std::sync::Arc;

use super::memory::count;
use super::{ListValue, Lookups, Memory};
use crate::expr::{self, Str, Value};

/// The lookups of one shard: a snapshot of the configuration and the shard's memory, which outlives it.
#[derive(Debug, Clone, Default)]
pub struct ShardLookups {
    shared: Arc<Lookups>,
    memory: Rc<Memory>,
}

impl ShardLookups {
    /// A new snapshot over the shard's memory.
    pub fn new(shared: Arc<Lookups>, memory: Rc<Memory>) -> ShardLookups {
        ShardLookups { shared, memory }
    }

    /// What all shards share.
    pub fn shared(&self) -> &Lookups {
        &self.shared
    }
}

fn lend(value: &ListValue) -> Value<'_> {
    match value {
        ListValue::Bool(is) => Value::bool(*is),
        ListValue::Integer(n) => Value::Integer(*n),
        ListValue::Text(text) => Value::text(text),
    }
}

fn own(value: ListValue) -> Value<'static> {
    match value {
        ListValue::Bool(is) => Value::bool(is),
        ListValue::Integer(n) => Value::Integer(n),
        ListValue::Text(text) => Value::Text(Str::Owned(text)),
    }
}

impl expr::Lookups for ShardLookups {
    fn is_local_domain(&self, directory: &str, domain: &str) -> bool {
        self.shared.is_local_domain(directory, domain)
    }

    fn is_local_address(&self, directory: &str, address: &str) -> bool {
        self.shared.is_local_address(directory, address)
    }

    fn key_get(&self, store: &str, key: &str) -> Option<Value<'_>> {
        match self.memory.get(store, key) {
            Some(written) => Some(own(written)),
            None => self.shared.key(store, key).map(lend),
        }
    }

    fn key_exists(&self, store: &str, key: &str) -> bool {
        self.memory.get(store, key).is_some() || self.shared.key(store, key).is_some()
    }

    fn key_set(&self, store: &str, key: &str, value: Value<'_>) -> bool {
        let value = match value {
            Value::Integer(n) => ListValue::Integer(n),
            other => ListValue::Text(other.into_text().into_owned()),
        };
        self.memory.set(store, key, value)
    }

    fn counter_get(&self, store: &str, key: &str) -> i64 {
        self.memory.get(store, key).as_ref().or_else(|| self.shared.key(store, key)).map_or(0, count)
    }

    fn counter_incr(&self, store: &str, key: &str, by: i64) -> i64 {
        self.memory.add(store, key, by)
    }
}
