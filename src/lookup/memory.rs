//! What expressions write: keys and counters of one shard, bounded, forgotten at restart.

use std::cell::RefCell;
use std::collections::VecDeque;

use compact_str::CompactString;

use super::directory::Map;
use super::settings::ListValue;
use crate::base::limits::{MEMORY_KEYS_MAX, MEMORY_STORES_MAX};

/// The writable stores of one shard. Counters are the shard's own: exact limits are the limiters' business.
#[derive(Debug, Default)]
pub struct Memory {
    stores: RefCell<Map<Store>>,
}

#[derive(Debug, Default)]
struct Store {
    values: Map<ListValue>,
    /// Keys by age: the oldest goes when there are too many.
    order: VecDeque<CompactString>,
}

impl Store {
    fn insert(&mut self, key: &str, value: ListValue) {
        if let Some(known) = self.values.get_mut(key) {
            *known = value;
            return;
        }
        if self.order.len() >= MEMORY_KEYS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.values.remove(&oldest);
        }
        self.order.push_back(key.into());
        self.values.insert(key.into(), value);
    }
}

impl Memory {
    /// The value that was written.
    pub fn get(&self, store: &str, key: &str) -> Option<ListValue> {
        self.stores.borrow().get(store).and_then(|store| store.values.get(key)).cloned()
    }

    /// Writes a value; false when there are too many stores.
    pub fn set(&self, store: &str, key: &str, value: ListValue) -> bool {
        self.with_store(store, |store| store.insert(key, value)).is_some()
    }

    /// Adds to a counter and returns its value. What is no number counts as zero.
    pub fn add(&self, store: &str, key: &str, by: i64) -> i64 {
        let counted = self.with_store(store, |store| {
            let value = store.values.get(key).map_or(0, count).saturating_add(by);
            store.insert(key, ListValue::Integer(value));
            value
        });
        counted.unwrap_or(by)
    }

    fn with_store<R>(&self, name: &str, change: impl FnOnce(&mut Store) -> R) -> Option<R> {
        let mut stores = self.stores.borrow_mut();
        if let Some(store) = stores.get_mut(name) {
            return Some(change(store));
        }
        if stores.len() >= MEMORY_STORES_MAX {
            return None;
        }
        Some(change(stores.entry(name.into()).or_default()))
    }
}

/// The counter that a value is.
pub(super) fn count(value: &ListValue) -> i64 {
    match value {
        ListValue::Bool(is) => i64::from(*is),
        ListValue::Integer(n) => *n,
        ListValue::Text(text) => text.parse().unwrap_or(0),
    }
}
