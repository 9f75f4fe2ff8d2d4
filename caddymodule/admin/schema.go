package admin

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/speechgate/speechgate/internal/manage"
)

// Schema is a JSON schema, as far as this API needs one.
type Schema map[string]any

// field is a field of a struct in JSON.
type field struct {
	name     string
	index    []int // see [reflect.Value.FieldByIndex]
	kind     reflect.Type
	optional bool // it is left out if it is empty
}

// fieldsOf returns the fields that a struct has in JSON. Fields of embedded structs are among
// them; a field of the outer struct replaces a field with the same name.
func fieldsOf(t reflect.Type) (fields []field) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		var found []field
		switch {
		case f.Anonymous && name == "":
			found = fieldsOf(f.Type)
			for j := range found {
				found[j].index = append([]int{i}, found[j].index...)
			}
		case name != "-" && f.IsExported():
			found = []field{{name: name, index: []int{i}, kind: f.Type, optional: options != ""}}
		}
		for _, one := range found {
			fields = slices.DeleteFunc(fields, func(f field) bool { return f.name == one.name })
			fields = append(fields, one)
		}
	}
	return fields
}

// schemas collects the schemas of structs by name.
type schemas map[string]Schema

// of returns the schema of a type. It adds the schemas of structs to s, and refers to them.
func (s schemas) of(t reflect.Type) Schema {
	switch t {
	case reflect.TypeFor[manage.Time](), reflect.TypeFor[manage.Expiry]():
		return Schema{"type": []string{"string", "null"}, "format": "date-time"}
	case reflect.TypeFor[manage.OrNull]():
		return Schema{"type": []string{"string", "null"}}
	case reflect.TypeFor[manage.ShownOnce](), reflect.TypeFor[manage.Sentence]():
		return Schema{"type": "string"}
	case reflect.TypeFor[Document]():
		return Schema{"type": "object"}
	}
	switch t.Kind() {
	case reflect.String:
		return Schema{"type": "string"}
	case reflect.Bool:
		return Schema{"type": "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint16:
		return Schema{"type": "integer"}
	case reflect.Float64:
		return Schema{"type": "number"}
	case reflect.Slice:
		return Schema{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return Schema{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.ofStruct(t)
	case reflect.Pointer:
		inner := s.of(t.Elem())
		if kind, ok := inner["type"].(string); ok {
			return Schema{"type": []string{kind, "null"}}
		}
		return Schema{"oneOf": []Schema{inner, {"type": "null"}}}
	}
	panic(fmt.Sprintf("the schema of %s is not known", t))
}

func (s schemas) ofStruct(t reflect.Type) Schema {
	name := schemaName(t)
	ref := Schema{"$ref": "#/components/schemas/" + name}
	if _, known := s[name]; known {
		return ref
	}
	object := Schema{"type": "object"}
	s[name] = object // now, because a field may need it
	properties, required := Schema{}, []string{}
	for _, f := range fieldsOf(t) {
		properties[f.name] = described(s.of(f.kind), name, f.name)
		if !f.optional {
			required = append(required, f.name)
		}
	}
	object["properties"] = properties
	if len(required) > 0 {
		object["required"] = required
	}
	return ref
}

// ofBody returns the schema of the body of a request: required has its required fields.
func (s schemas) ofBody(t reflect.Type, required []string) Schema {
	properties := Schema{}
	for _, f := range fieldsOf(t) {
		properties[f.name] = described(s.of(f.kind), schemaName(t), f.name)
	}
	body := Schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		body["required"] = required
	}
	return body
}

// schemaName returns the name of the schema of a struct: "KeyList" for a list of keys.
func schemaName(t reflect.Type) string {
	name, argument, generic := strings.Cut(t.Name(), "[")
	if !generic {
		return name
	}
	argument = strings.TrimSuffix(argument, "]")
	return argument[strings.LastIndex(argument, ".")+1:] + name
}

// described adds the note about a field of a struct to its schema.
func described(s Schema, structName, fieldName string) Schema {
	n := noteOf(structName, fieldName)
	if n.text != "" {
		s["description"] = n.text
	}
	if n.words != nil {
		s["enum"] = n.words()
	}
	return s
}
