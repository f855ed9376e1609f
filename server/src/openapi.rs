//! The description of the interface, as far as the handlers do not say it themselves: what holds of all of them.

use utoipa::openapi::{
    Content, OpenApi, Ref, ResponseBuilder,
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

/// Statuses that any request may be answered with.
const PROBLEMS: [(&str, &str); 10] = [
    ("400", "What was asked cannot be; the detail names the parameter and its range."),
    ("401", "A key is needed."),
    ("403", "The key does not allow this."),
    ("404", "There is no such thing."),
    ("406", "None of the formats is accepted."),
    ("408", "The request did not come in time."),
    ("413", "The body is too large."),
    ("429", "Too many requests; Retry-After says when to come again."),
    ("503", "Not now; Retry-After says when to come again."),
    ("504", "It took longer than is allowed."),
];

/// Adds problems and keys.
pub(crate) fn finished(mut document: OpenApi) -> OpenApi {
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.delete, &mut item.put];
        for operation in operations.into_iter().flatten() {
            let has_body = operation.request_body.is_some();
            for (status, description) in PROBLEMS {
                if operation.responses.responses.contains_key(status) {
                    continue;
                }
                let response = ResponseBuilder::new()
                    .description(description)
                    .content("application/problem+json", Content::new(Some(Ref::from_schema_name("Problem"))))
                    .build();
                operation.responses.responses.insert(status.to_owned(), response.into());
            }
            if has_body {
                let response = ResponseBuilder::new()
                    .description("The body is of another type than is expected.")
                    .content("application/problem+json", Content::new(Some(Ref::from_schema_name("Problem"))))
                    .build();
                operation.responses.responses.insert("415".to_owned(), response.into());
            }
        }
    }
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()));
    components.add_security_scheme("header", SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("X-API-Key"))));
    let none: [&str; 0] = [];
    document.security =
        Some(vec![SecurityRequirement::default(), SecurityRequirement::new("key", none), SecurityRequirement::new("header", none)]);
    document
}
