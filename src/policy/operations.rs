//! The operations of a configuration, and which of them a request invokes.
//!
//! A path that is written out is one look-up in a hash table. Only where there is none of that name
//! the templates are gone through, the one that says most about a path first.

use std::ops::Deref;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::{Captured, Operation, PathTemplate};

/// All operations, in the order of the configuration; an [`OperationId`](super::OperationId) is an
/// index.
#[derive(Clone, Debug, Default)]
pub struct Operations {
    list: Vec<Operation>,
    /// By path; several where they have different methods.
    exact: HashMap<Arc<str>, Vec<usize>>,
    templates: Vec<(PathTemplate, usize)>,
}

impl Operations {
    /// Makes operations ready to be found. Of two with the same method and path the first is found:
    /// the resolver refuses such a configuration before it comes here.
    pub fn new(list: Vec<Operation>) -> Self {
        let mut exact: HashMap<_, Vec<_>> = HashMap::new();
        let mut templates = Vec::new();
        for (index, operation) in list.iter().enumerate() {
            match &operation.template {
                Some(template) => templates.push((template.clone(), index)),
                None => exact
                    .entry(Arc::clone(&operation.path))
                    .or_default()
                    .push(index),
            }
        }
        templates.sort_by_cached_key(|(template, _)| template.rank());
        Self {
            list,
            exact,
            templates,
        }
    }

    /// The operation of a method and a path (already cut at `?`), and what the path has in the
    /// places of its template.
    ///
    /// # Errors
    /// What is known about the path where there is no such operation.
    pub fn find(
        &self,
        method: &http::Method,
        path: &str,
    ) -> Result<(&Operation, Captured), NoOperation> {
        let mut allowed = Vec::new();
        for &index in self.exact.get(path).map_or(&[][..], Vec::as_slice) {
            let operation = &self.list[index];
            if operation.method == method {
                return Ok((operation, Captured::default()));
            }
            allowed.push(operation.method.clone());
        }
        for (template, index) in &self.templates {
            let Some(captured) = template.matches(path) else {
                continue;
            };
            let operation = &self.list[*index];
            if operation.method == method {
                return Ok((operation, captured));
            }
            if !allowed.contains(&operation.method) {
                allowed.push(operation.method.clone());
            }
        }
        if allowed.is_empty() {
            Err(NoOperation::UnknownPath)
        } else {
            Err(NoOperation::OtherMethods(allowed))
        }
    }
}

impl Deref for Operations {
    type Target = [Operation];

    fn deref(&self) -> &[Operation] {
        &self.list
    }
}

/// Why a request has no operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoOperation {
    /// Nothing has this path: 404.
    UnknownPath,
    /// The path is known with these methods: 405.
    OtherMethods(Vec<http::Method>),
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::policy::{Dialect, Format, ModelPlace, OperationId, PerEnvironment};

    fn operation(index: u32, method: Method, path: &str) -> Operation {
        Operation {
            id: OperationId(index),
            method,
            path: path.into(),
            template: PathTemplate::parse(path).unwrap(),
            model_in: ModelPlace::Body,
            format: Format::of_path(path),
            dialect: Dialect::of_path(path),
            streams: false,
            lists_models: false,
            default_endpoint: PerEnvironment::default(),
            routes: None,
        }
    }

    #[test]
    fn exact_paths_come_before_templates_and_these_by_what_they_say() {
        let paths = [
            (Method::POST, "/v1/models/*"),
            (Method::POST, "/v1/models/{model}:run"),
            (Method::POST, "/v1/models/special:run"),
            (Method::GET, "/v1/models/{model}"),
            (Method::GET, "/v1/models"),
            (Method::DELETE, "/v1/models"),
        ];
        let list = (0..).zip(paths);
        let list = list.map(|(index, (method, path))| operation(index, method, path));
        let operations = Operations::new(list.collect());
        let found = |method: Method, path: &str| {
            operations
                .find(&method, path)
                .map(|(operation, captured)| (operation.id.0, captured.model))
        };
        assert_eq!(found(Method::POST, "/v1/models/special:run"), Ok((2, None)));
        assert_eq!(
            found(Method::POST, "/v1/models/m:run"),
            Ok((1, Some(11..12)))
        );
        assert_eq!(found(Method::POST, "/v1/models/m"), Ok((0, None)));
        // The path that is written out has another method.
        let special = found(Method::GET, "/v1/models/special:run");
        assert_eq!(special, Ok((3, Some(11..22))));
        assert_eq!(found(Method::DELETE, "/v1/models"), Ok((5, None)));
        let others = NoOperation::OtherMethods(vec![Method::GET, Method::DELETE]);
        assert_eq!(found(Method::POST, "/v1/models"), Err(others));
        let others = NoOperation::OtherMethods(vec![Method::GET, Method::POST]);
        assert_eq!(found(Method::PUT, "/v1/models/m"), Err(others));
        assert_eq!(found(Method::GET, "/v1"), Err(NoOperation::UnknownPath));
    }
}
