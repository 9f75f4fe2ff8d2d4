package admin

import (
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Document is the OpenAPI document of the admin API.
type Document map[string]any

// document generates the OpenAPI document from the table of routes.
func document() Document {
	all := schemas{}
	paths := make(map[string]map[string]any)
	problem := all.of(reflect.TypeFor[Problem]())
	all["Problem"]["properties"].(Schema)["type"].(Schema)["enum"] = problemTypeNames() //nolint:forcetypeassert // ofStruct made it
	for _, r := range routes() {
		path := root + r.path
		if paths[path] == nil {
			paths[path] = make(map[string]any)
		}
		paths[path][strings.ToLower(r.method)] = r.operation(all)
	}
	return Document{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title":       "Speechgate admin API",
			"version":     "1",
			"description": "The admin API of Speechgate on Caddy's admin endpoint.",
			"license":     map[string]any{"name": "Apache 2.0", "identifier": "Apache-2.0"},
		},
		"servers": []any{map[string]any{"url": "http://localhost:2019", "description": "The default of Caddy's admin endpoint."}},
		// Caddy's admin endpoint protects itself by its address, so an operation needs no credential.
		"security": []any{map[string]any{}},
		"paths":    paths,
		"components": map[string]any{
			"schemas": all,
			"responses": map[string]any{
				"Problem": map[string]any{
					"description": "The request failed.",
					"content":     map[string]any{"application/problem+json": map[string]any{"schema": problem}},
				},
			},
		},
	}
}

func problemTypeNames() (names []string) {
	for _, k := range problemKinds() {
		names = append(names, problemTypes+k.name)
	}
	return names
}

// operation describes the route.
func (r *route) operation(all schemas) map[string]any {
	answered := r.answer
	if answered.Kind() == reflect.Pointer { // to a result that is never nil
		answered = answered.Elem()
	}
	answer := map[string]any{
		"description": r.summary,
		"content":     map[string]any{"application/json": map[string]any{"schema": all.of(answered)}},
	}
	operation := map[string]any{
		"operationId": r.name,
		"summary":     r.summary,
		"tags":        []string{strings.Split(r.path, "/")[0]},
		"parameters":  r.parameters(all),
		"responses": map[string]any{
			strconv.Itoa(r.status): answer,
			"default":              map[string]any{"$ref": "#/components/responses/Problem"},
		},
	}
	if r.repeats {
		answer["headers"] = map[string]any{
			"Idempotency-Replayed": map[string]any{"description": notes["Idempotency-Replayed"].text, "schema": Schema{"type": "string"}},
		}
	}
	if r.body != nil {
		operation["requestBody"] = map[string]any{
			"required": len(r.required) > 0 || r.anyType,
			"content":  map[string]any{"application/json": map[string]any{"schema": all.ofBody(r.body, r.required)}},
		}
	}
	return operation
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// parameters describes what the path, the query and the headers of a request can have.
func (r *route) parameters(all schemas) []any {
	list := []any{}
	for _, found := range pathParameter.FindAllStringSubmatch(r.path, -1) {
		text := notes[found[1]].text
		if found[1] == "account_id" {
			text = idOrName
		}
		list = append(list, parameter("path", found[1], text, Schema{"type": "string"}))
	}
	if r.query != nil {
		for _, f := range fieldsOf(r.query) {
			schema := described(all.of(f.kind), schemaName(r.query), f.name)
			text, _ := schema["description"].(string)
			delete(schema, "description")
			if f.name == "limit" {
				schema["minimum"], schema["maximum"] = 1, maxLimit
			}
			list = append(list, parameter("query", f.name, text, schema))
		}
	}
	headers := []string{}
	if r.repeats {
		headers = append(headers, idempotencyHeader)
	}
	if !r.noStore && r.method != http.MethodGet || slices.Contains([]string{"cutStreams", "whoami"}, r.name) {
		headers = append(headers, operatorHeader)
	}
	for _, name := range headers {
		list = append(list, parameter("header", name, notes[name].text, Schema{"type": "string"}))
	}
	return list
}

func parameter(in, name, text string, schema Schema) map[string]any {
	return map[string]any{"in": in, "name": name, "description": text, "required": in == "path", "schema": schema}
}
