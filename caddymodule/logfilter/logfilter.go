// Package logfilter is a filter for Caddy's logs that masks keys.
package logfilter

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/speechgate/speechgate/caddymodule/app"
	"github.com/speechgate/speechgate/caddymodule/configcheck"
	"github.com/speechgate/speechgate/caddymodule/options"
	"github.com/speechgate/speechgate/dialect"
	"github.com/speechgate/speechgate/internal/credential"
	"github.com/speechgate/speechgate/internal/issuance"
)

func init() {
	caddy.RegisterModule(new(LogFilter))
}

// LogFilter masks keys in fields of log entries. It masks every place in URIs and headers
// where a client of any dialect can put a key. In all text, it masks the secrets that this
// gateway has made, and the upstream keys of the gates. A field can be a text or an
// object, such as `request`.
//
// Use it on the default logger, because access logs are not the only logs that show
// requests:
//
//	log {
//	    format filter {
//	        request      speechgate
//	        resp_headers speechgate
//	        headers      speechgate
//	        uri          speechgate
//	        error        speechgate
//	        http         speechgate
//	    }
//	}
type LogFilter struct {
	upstreamKeys *app.UpstreamKeyMask

	places  []dialect.Place
	headers []string // fields to mask as a whole, in lower case
}

// CaddyModule returns the Caddy module information.
func (*LogFilter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.encoders.filter.speechgate",
		New: func() caddy.Module { return new(LogFilter) },
	}
}

// Provision collects the places of keys from all dialects and from the issuance API. Cookies and
// Proxy-Authorization never have a key, but they are masked too, because Caddy logs them if
// log_credentials is set.
func (f *LogFilter) Provision(caddy.Context) error {
	f.upstreamKeys = app.MaskedUpstreamKeys()
	f.headers = []string{"cookie", "set-cookie", "proxy-authorization"}
	for _, name := range dialect.Names() {
		api, _ := dialect.ByName(name)
		f.places = append(f.places, api.Places...)
	}
	f.places = append(f.places, issuance.Places...)
	for _, place := range f.places {
		if name := place.HeaderName(); name != "" {
			f.headers = append(f.headers, strings.ToLower(name))
		}
	}
	return nil
}

// UnmarshalCaddyfile reads the filter, which has no options.
//
// Syntax:
//
//	<field> speechgate
func (*LogFilter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("the filter speechgate has no options: remove the block behind it")
	}
	return nil
}

// Filter masks keys in the field.
func (f *LogFilter) Filter(field zapcore.Field) zapcore.Field {
	switch field.Type {
	case zapcore.StringType:
		field.String = f.mask(field.Key, field.String)
	case zapcore.ObjectMarshalerType:
		if object, ok := field.Interface.(zapcore.ObjectMarshaler); ok {
			return zap.Object(field.Key, maskedObject{f, object})
		}
	case zapcore.ArrayMarshalerType:
		if array, ok := field.Interface.(zapcore.ArrayMarshaler); ok {
			return zap.Array(field.Key, maskedArray{f, field.Key, array})
		}
	case zapcore.ReflectType:
		return zap.Reflect(field.Key, f.maskValue(field.Key, field.Interface))
	case zapcore.ErrorType:
		if err, ok := field.Interface.(error); ok {
			return zap.String(field.Key, f.mask(field.Key, err.Error()))
		}
	}
	return field
}

func (f *LogFilter) mask(name, text string) string {
	if slices.Contains(f.headers, strings.ToLower(name)) {
		return credential.Masked
	}
	return credential.MaskURI(f.upstreamKeys.Mask(text), f.places)
}

// maskValue masks the text in a value that is logged as JSON, such as a part of the
// configuration. It returns nil if the value cannot be marshalled.
func (f *LogFilter) maskValue(name string, value any) any {
	text, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	var plain any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if dec.Decode(&plain) != nil {
		return nil
	}
	return f.maskPlain(name, plain)
}

func (f *LogFilter) maskPlain(name string, value any) any {
	switch value := value.(type) {
	case string:
		return f.mask(name, value)
	case []any:
		for i, element := range value {
			value[i] = f.maskPlain(name, element)
		}
	case map[string]any:
		for key, member := range value {
			value[key] = f.maskPlain(key, member)
			if isConfiguredSecret(value, key) {
				value[key] = maskConfigured(member)
			}
		}
	}
	return value
}

// maskConfigured masks a secret or a list of secrets in the configuration. It leaves placeholders.
func maskConfigured(value any) any {
	switch value := value.(type) {
	case string:
		if !options.IsEvidentPlaceholder(value) {
			return credential.Masked
		}
	case []any:
		for i, element := range value {
			value[i] = maskConfigured(element)
		}
	}
	return value
}

// isConfiguredSecret reports whether a member of an object is a secret in the configuration of
// a module of the gateway. Caddy logs the configuration before the modules are provisioned, when
// upstreamKeys does not have these secrets yet.
func isConfiguredSecret(object map[string]any, name string) bool {
	switch name {
	case "upstream_key":
		return object[name] != options.UpstreamDrop && object[name] != options.UpstreamPass
	case "old_upstream_keys":
		return true
	case "key":
		return object["handler"] == "speechgate_sandbox"
	case "pepper":
		return true
	}
	return false
}

// maskedObject masks the fields of an object when they are encoded.
type maskedObject struct {
	filter *LogFilter
	object zapcore.ObjectMarshaler
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (m maskedObject) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	return m.object.MarshalLogObject(maskingEncoder{enc, m.filter})
}

type maskingEncoder struct {
	zapcore.ObjectEncoder
	filter *LogFilter
}

func (e maskingEncoder) AddString(key, value string) {
	e.ObjectEncoder.AddString(key, e.filter.mask(key, value))
}

func (e maskingEncoder) AddByteString(key string, value []byte) {
	e.AddString(key, string(value))
}

func (e maskingEncoder) AddObject(key string, object zapcore.ObjectMarshaler) error {
	return e.ObjectEncoder.AddObject(key, maskedObject{e.filter, object})
}

func (e maskingEncoder) AddReflected(key string, value any) error {
	return e.ObjectEncoder.AddReflected(key, e.filter.maskValue(key, value))
}

func (e maskingEncoder) AddArray(key string, array zapcore.ArrayMarshaler) error {
	return e.ObjectEncoder.AddArray(key, maskedArray{e.filter, key, array})
}

// maskedArray masks the elements of an array when they are encoded.
type maskedArray struct {
	filter *LogFilter
	key    string
	array  zapcore.ArrayMarshaler
}

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (m maskedArray) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	return m.array.MarshalLogArray(maskingArrayEncoder{enc, m})
}

type maskingArrayEncoder struct {
	zapcore.ArrayEncoder
	masked maskedArray
}

func (e maskingArrayEncoder) AppendObject(object zapcore.ObjectMarshaler) error {
	return e.ArrayEncoder.AppendObject(maskedObject{e.masked.filter, object})
}

func (e maskingArrayEncoder) AppendString(value string) {
	e.ArrayEncoder.AppendString(e.masked.filter.mask(e.masked.key, value))
}

// MasksKeys marks a filter that masks keys. The check of the configuration looks for this
// method.
func (*LogFilter) MasksKeys() {}

// Interface guards
var (
	_ configcheck.KeyMasker  = (*LogFilter)(nil)
	_ logging.LogFieldFilter = (*LogFilter)(nil)
	_ caddy.Provisioner      = (*LogFilter)(nil)
	_ caddyfile.Unmarshaler  = (*LogFilter)(nil)
)
