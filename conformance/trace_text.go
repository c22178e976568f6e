package conformance

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
	"github.com/gobackplane/backplane/rpc"
)

// How much of a call is shown.
const (
	mostElements = 3  // of a batch
	mostBytes    = 48 // of a value, a key or a name
	mostWords    = 400
)

// listed copies what a trace shows of a batch, and gives what puts it into words.
func listed[E any](elements []E) func() string { return headed(elements, own) }

func headed[E any](elements []E, own func(any)) func() string {
	n := len(elements)
	head := slices.Clone(elements[:min(n, mostElements)])
	for i := range head {
		own(&head[i])
	}
	return func() string {
		all := make([]string, 0, len(head)+1)
		for _, e := range head {
			all = append(all, describe(reflect.ValueOf(&e).Elem()))
		}
		if more := n - len(head); more > 0 {
			all = append(all, fmt.Sprintf("and %d more", more))
		}
		return bounded("[" + strings.Join(all, ", ") + "]")
	}
}

// described is listed for one thing.
func described[V any](v V) func() string {
	own(&v)
	return func() string { return bounded(describe(reflect.ValueOf(&v).Elem())) }
}

func failing(err error) func() string { return func() string { return bounded(err.Error()) } }

func fine() string { return "ok" }

// own makes a copy independent of what it was copied from, whose bytes and maps the caller or the driver will change.
// Bytes become the text that is to be shown of them.
func own(v any) {
	switch v := v.(type) {
	case *cache.Got:
		v.Entry.Value = shown(v.Entry.Value)
	case *cache.Write:
		v.Value = shown(v.Value)
	case *cache.Push:
		v.Values = shownAll(v.Values)
	case *cache.Popped:
		v.Values = shownAll(v.Values)
	case *cache.Keys:
		v.Keys = headOf(v.Keys)
	case *cache.Leases:
		v.Leases = headOf(v.Leases)
	case *queue.Task:
		ownTask(v)
	case *queue.Leased:
		ownTask(&v.Task)
	case *queue.Info:
		ownTask(&v.Task)
		v.Result = shown(v.Result)
	case *queue.Tasks:
		v.Tasks = headOf(v.Tasks)
	case *queue.Claim:
		v.Queues = headOf(v.Queues)
	case *queue.Claimed:
		v.Tasks = headOf(v.Tasks)
	case *queue.Settlements:
		v.Items = headOf(v.Items)
	case *queue.Settlement:
		v.Result = shown(v.Result)
	case *pubsub.Message:
		v.Payload, v.Headers = shown(v.Payload), maps.Clone(v.Headers)
	case *pubsub.Event:
		if v.Message != nil {
			m := *v.Message
			own(&m)
			v.Message = &m
		}
	case *rpc.Frame:
		v.Payload = shown(v.Payload)
	}
}

// withoutContent is own for what is delivered: of payloads it leaves the size.
func withoutContent(v any) {
	switch v := v.(type) {
	case *pubsub.Event:
		if v.Message != nil {
			v.Message = &pubsub.Message{
				Subject: v.Message.Subject, Payload: sized(v.Message.Payload), Sender: v.Message.Sender, Seq: v.Message.Seq, SubjectSeq: v.Message.SubjectSeq,
			}
		}
	case *rpc.Frame:
		v.Payload = sized(v.Payload)
	default:
		own(v)
	}
}

func sized(value []byte) []byte { return fmt.Appendf(nil, "(%d bytes)", len(value)) }

func ownTask(t *queue.Task) { t.Payload, t.Headers = shown(t.Payload), maps.Clone(t.Headers) }

func headOf[E any](all []E) []E {
	head := slices.Clone(all[:min(len(all), mostElements)])
	for i := range head {
		own(&head[i])
	}
	return head
}

// shown is the text for a value.
func shown(value []byte) []byte {
	if value == nil {
		return nil
	}
	text := strconv.AppendQuote(nil, string(value[:min(len(value), mostBytes)]))
	if len(value) > mostBytes {
		text = fmt.Appendf(text, "… (%d bytes)", len(value))
	}
	return text
}

func shownAll(values [][]byte) [][]byte {
	all := slices.Clone(values[:min(len(values), mostElements)])
	for i := range all {
		all[i] = shown(all[i])
	}
	return all
}

func quoted(s string) string { return string(shown([]byte(s))) }

func bounded(text string) string {
	if len(text) > mostWords {
		text = strings.ToValidUTF8(text[:mostWords], "") + "…"
	}
	return text
}

// describe puts a value into words: of a struct only the fields that are set, and nothing of what is the driver's own.
func describe(v reflect.Value) string {
	if v.CanInterface() {
		switch known := v.Interface().(type) {
		case nil:
			return "ok" // an element's error
		case cache.Condition:
			return strings.TrimPrefix(conditionText(known), " if ")
		case time.Time:
			return known.UTC().Format("15:04:05.000000")
		case *pubsub.Message:
			return describe(reflect.ValueOf(known).Elem())
		case *pubsub.Gap:
			return "gap" + describe(reflect.ValueOf(known).Elem())
		case error:
			return known.Error()
		case fmt.Stringer:
			return known.String()
		case []byte:
			return string(known) // as own left it
		}
	}
	switch v.Kind() {
	case reflect.String:
		return quoted(v.String())
	case reflect.Struct:
		return describeStruct(v)
	case reflect.Slice:
		var all []string
		for i := range min(v.Len(), mostElements) {
			all = append(all, describe(v.Index(i)))
		}
		return "[" + strings.Join(all, ", ") + "]"
	case reflect.Map:
		var all []string
		for _, key := range v.MapKeys() {
			all = append(all, describe(key)+": "+describe(v.MapIndex(key)))
		}
		slices.Sort(all)
		return "{" + strings.Join(all[:min(len(all), mostElements)], ", ") + "}"
	case reflect.Interface, reflect.Pointer:
		return "ok"
	}
	return fmt.Sprint(v)
}

func describeStruct(v reflect.Value) string {
	var all []string
	for i := range v.NumField() {
		field, value := v.Type().Field(i), v.Field(i)
		if !field.IsExported() || value.IsZero() {
			continue
		}
		text := describe(value)
		if field.Anonymous {
			text = strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
		} else {
			text = field.Name + ": " + text
		}
		all = append(all, text)
	}
	return "{" + strings.Join(all, ", ") + "}"
}
