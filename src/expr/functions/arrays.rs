//! Functions on lists. A scalar is a list of one, the empty text an empty list.

use super::super::value::{Str, Value};

fn items<'s, 'a>(value: &'s Value<'a>) -> &'s [Value<'a>] {
    match value {
        Value::List(items) => items,
        scalar if scalar.is_empty() => &[],
        scalar => std::slice::from_ref(scalar),
    }
}

pub fn count(list: &Value<'_>) -> i64 {
    items(list).len() as i64
}

pub fn sort<'a>(list: &Value<'a>, ascending: bool) -> Value<'a> {
    let mut sorted = items(list).to_vec();
    sorted.sort_by(|a, b| if ascending { a.sort_order(b) } else { b.sort_order(a) });
    Value::list(sorted)
}

/// The elements as text, sorted: membership is decided on text.
fn keys<'a>(list: &Value<'a>) -> Vec<Str<'a>> {
    let mut keys: Vec<_> = items(list).iter().map(|item| item.clone().into_text()).collect();
    keys.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    keys
}

fn position(keys: &[Str<'_>], item: &Value<'_>) -> Option<usize> {
    item.with_text(|text| keys.binary_search_by(|key| key.as_str().cmp(text)).ok())
}

/// The first of each element, in their order.
pub fn dedup<'a>(list: &Value<'a>) -> Value<'a> {
    let mut keys = keys(list);
    keys.dedup_by(|a, b| a.as_str() == b.as_str());
    let mut seen = vec![false; keys.len()];
    let is_new = |item: &&Value<'a>| {
        position(&keys, item).and_then(|i| seen.get_mut(i)).is_none_or(|seen| !std::mem::replace(seen, true))
    };
    Value::list(items(list).iter().filter(is_new).cloned().collect())
}

/// Without its empty elements.
pub fn winnow<'a>(list: &Value<'a>) -> Value<'a> {
    Value::list(items(list).iter().filter(|item| !item.is_empty()).cloned().collect())
}

pub fn is_intersect(a: &Value<'_>, b: &Value<'_>) -> bool {
    let keys = keys(b);
    items(a).iter().any(|item| position(&keys, item).is_some())
}
