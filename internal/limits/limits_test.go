package limits_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/cache"
	"github.com/gobackplane/backplane/fault"
	"github.com/gobackplane/backplane/internal/limits"
	"github.com/gobackplane/backplane/pubsub"
	"github.com/gobackplane/backplane/queue"
)

var (
	cached = limits.Cache{Transport: "test", Capabilities: cache.Capabilities{
		MaxKey: 10, MaxValue: 20, MaxBatch: 3, MinTTL: time.Millisecond,
	}}
	queued = limits.Queue{Transport: "test", Capabilities: queue.Capabilities{
		MaxPayload: 20, MaxBatch: 3, MaxName: 10, MinLease: time.Second, MaxPriority: 9,
	}}
	published = limits.PubSub{Transport: "test", Capabilities: pubsub.Capabilities{
		MaxPayload: 20, MaxSubject: 10, MaxBatch: 3,
	}}
	long  = strings.Repeat("k", 11)
	bytes = make([]byte, 21)
)

func task(change func(*queue.Task)) error {
	t := queue.Task{ID: "1", Kind: "k", Queue: "q", MaxAttempts: 1, MaxLost: 1, Payload: bytes[:20]}
	change(&t)
	return queued.Task(&t)
}

func settlement(change func(*queue.Settlement)) error {
	s := queue.Settlement{Ref: queue.Ref{Queue: "q", ID: "1"}, Outcome: queue.Done, Result: bytes[:20]}
	change(&s)
	return queued.Settlement(&s)
}

func none([]pubsub.Event) {}

func TestWhatIsWithinTheLimitsIsAccepted(t *testing.T) {
	for name, err := range map[string]error{
		"batch":      cached.Batch("cache: get", 3),
		"key":        cached.Key("cache: get", long[:10], cache.Guard{Holder: long[:10]}),
		"odd key":    cached.Key("cache: get", "\x00\xff {*", cache.Guard{}),
		"write":      cached.Write(cache.Write{Key: "k", Value: bytes[:20], TTL: time.Millisecond}),
		"no value":   cached.Write(cache.Write{Key: "k"}),
		"removal":    cached.Removal(cache.Removal{Key: "k"}),
		"lifetime":   cached.Lifetime(cache.Lifetime{Key: "k"}),
		"increment":  cached.Increment(cache.Increment{Key: "k", TTL: time.Hour}),
		"page":       cached.Page("cache: keys", cache.Page{Prefix: long + long}),
		"claim":      cached.Claim(cache.Claim{Lock: "l", Holder: "h", TTL: time.Millisecond}),
		"renewal":    cached.Renewal(cache.Lease{Lock: "l", Holder: "h", TTL: time.Second}),
		"release":    cached.Release(cache.Lease{Lock: "l", Holder: "h"}),
		"push":       cached.Push(cache.Push{List: "l", Values: [][]byte{nil, bytes[:20]}}),
		"pop":        cached.Pop(cache.Pop{List: "l", Max: 1}),
		"range":      cached.Range(cache.Range{List: "l", Max: 1}),
		"drop":       cached.Drop(cache.Removal{Key: "l"}),
		"watch":      cached.Watch("", func([]cache.Change) {}),
		"task":       task(func(*queue.Task) {}),
		"priority":   task(func(t *queue.Task) { t.Priority = 9 }),
		"q claim":    queued.Claim(queue.Claim{Worker: "w", Queues: []string{"q"}, Max: 1}),
		"settlement": settlement(func(*queue.Settlement) {}),
		"batch of s": queued.Settlements(queue.Settlements{Worker: "w", Number: 1}),
		"list":       queued.List(queue.List{Queue: "q", State: queue.DeadLetter}),
		"default":    queued.Properties("q", queue.Properties{}),
		"properties": queued.Properties("q", queue.Properties{Lease: time.Second}),
		"message":    published.Message(&pubsub.Message{Subject: "a.b.c", Payload: bytes[:18], Headers: map[string]string{"K": "v"}}),
		"filter":     published.Filter(pubsub.Filter{Subject: "a.*.>", Group: "g"}, none),
	} {
		require.NoError(t, err, name)
	}
}

func TestWhatIsOverALimitSaysWhichAndWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		err     error
		code    fault.Code
		message string
	}{
		"batch":          {cached.Batch("cache: get", 4), fault.TooLarge, "4 elements, 3 are allowed"},
		"no key":         {cached.Key("cache: get", "", cache.Guard{}), fault.Invalid, "key is empty"},
		"long key":       {cached.Key("cache: get", long, cache.Guard{}), fault.Invalid, "11 bytes, 10 are allowed"},
		"long holder":    {cached.Key("cache: get", "k", cache.Guard{Holder: long}), fault.Invalid, "holder"},
		"value":          {cached.Write(cache.Write{Key: "k", Value: bytes}), fault.TooLarge, "21 bytes, 20 are allowed"},
		"short TTL":      {cached.Write(cache.Write{Key: "k", TTL: time.Microsecond}), fault.Invalid, "at least 1ms"},
		"negative TTL":   {cached.Lifetime(cache.Lifetime{Key: "k", TTL: -1}), fault.Invalid, "0 for no end"},
		"add's TTL":      {cached.Increment(cache.Increment{Key: "k", TTL: -1}), fault.Invalid, "lifetime"},
		"page":           {cached.Page("cache: keys", cache.Page{Limit: -1}), fault.Invalid, "limit is -1"},
		"no lock":        {cached.Claim(cache.Claim{Holder: "h", TTL: time.Hour}), fault.Invalid, "lock's name is empty"},
		"no holder":      {cached.Claim(cache.Claim{Lock: "l", TTL: time.Hour}), fault.Invalid, "holder is empty"},
		"no lease":       {cached.Claim(cache.Claim{Lock: "l", Holder: "h"}), fault.Invalid, "lease is 0s"},
		"wait":           {cached.Claim(cache.Claim{Lock: "l", Holder: "h", TTL: time.Hour, Wait: -1}), fault.Invalid, "wait"},
		"renewal":        {cached.Renewal(cache.Lease{Lock: "l", Holder: "h"}), fault.Invalid, "lease is 0s"},
		"nothing pushed": {cached.Push(cache.Push{List: "l"}), fault.Invalid, "no values"},
		"much pushed":    {cached.Push(cache.Push{List: "l", Values: make([][]byte, 4)}), fault.TooLarge, "4 elements"},
		"value pushed":   {cached.Push(cache.Push{List: "l", Values: [][]byte{bytes}}), fault.TooLarge, "21 bytes"},
		"pop":            {cached.Pop(cache.Pop{List: "l"}), fault.Invalid, "Max is 0"},
		"range":          {cached.Range(cache.Range{List: "l", Start: -1, Max: 1}), fault.Invalid, "Start is -1"},
		"drop":           {cached.Drop(cache.Removal{Key: "l", If: cache.IfPresent()}), fault.Invalid, "Always"},
		"watch":          {cached.Watch("", nil), fault.Invalid, "nil"},
		"no ID":          {task(func(t *queue.Task) { t.ID = "" }), fault.Invalid, "ID is empty"},
		"no queue":       {task(func(t *queue.Task) { t.Queue = "" }), fault.Invalid, "queue's name is empty"},
		"no kind":        {task(func(t *queue.Task) { t.Kind = "" }), fault.Invalid, "kind is empty"},
		"long unique":    {task(func(t *queue.Task) { t.UniqueKey = long }), fault.Invalid, "unique key"},
		"priority":       {task(func(t *queue.Task) { t.Priority = 10 }), fault.Invalid, "priority is 10"},
		"no priority":    {task(func(t *queue.Task) { t.Priority = -1 }), fault.Invalid, "priority is -1"},
		"attempts":       {task(func(t *queue.Task) { t.MaxAttempts = 0 }), fault.Invalid, "MaxAttempts is 0"},
		"lost":           {task(func(t *queue.Task) { t.MaxLost = 0 }), fault.Invalid, "MaxLost is 0"},
		"retention":      {task(func(t *queue.Task) { t.Retention = -1 }), fault.Invalid, "Retention"},
		"payload": {task(func(t *queue.Task) { t.Headers = map[string]string{"k": ""} }), fault.TooLarge,
			"payload with headers has 21 bytes"},
		"no worker":    {queued.Claim(queue.Claim{Queues: []string{"q"}, Max: 1}), fault.Invalid, "worker is empty"},
		"no queues":    {queued.Claim(queue.Claim{Worker: "w", Max: 1}), fault.Invalid, "number of queues is 0"},
		"queues":       {queued.Claim(queue.Claim{Worker: "w", Max: 1, Queues: []string{"q", long}}), fault.Invalid, "11 bytes"},
		"number":       {queued.Settlements(queue.Settlements{Worker: "w"}), fault.Invalid, "count from 1"},
		"outcome":      {settlement(func(s *queue.Settlement) { s.Outcome = 0 }), fault.Invalid, "outcome 0"},
		"delay":        {settlement(func(s *queue.Settlement) { s.Delay = -1 }), fault.Invalid, "delay"},
		"result":       {settlement(func(s *queue.Settlement) { s.Result = bytes }), fault.TooLarge, "result"},
		"state":        {queued.List(queue.List{Queue: "q"}), fault.Invalid, "no state"},
		"queue lease":  {queued.Properties("q", queue.Properties{Lease: 1}), fault.Invalid, "at least 1s"},
		"subject":      {published.Message(&pubsub.Message{Subject: "a.*"}), fault.Invalid, "wildcard"},
		"long subject": {published.Message(&pubsub.Message{Subject: long}), fault.Invalid, "10 are allowed"},
		"message": {published.Message(&pubsub.Message{Subject: "a", Payload: bytes[:20], Headers: map[string]string{"k": ""}}),
			fault.TooLarge, "21 bytes"},
		"messages":  {published.Batch(4), fault.TooLarge, "4 elements"},
		"filter":    {published.Filter(pubsub.Filter{Subject: ">.a"}, none), fault.Invalid, "only at the end"},
		"no filter": {published.Filter(pubsub.Filter{}, none), fault.Invalid, "empty"},
		"deliver":   {published.Filter(pubsub.Filter{Subject: "a"}, nil), fault.Invalid, "nil"},
	} {
		var f *fault.Error
		require.ErrorAs(t, c.err, &f, name)
		require.Equal(t, c.code, f.Code, name)
		require.Contains(t, f.Message, c.message, name)
		require.Equal(t, "test", f.Transport, name)
		require.NotEmpty(t, f.Op, name)
	}
}

func TestErrorsAreCutBetweenCharacters(t *testing.T) {
	short := "é"

	require.Equal(t, short, limits.CutError(short))
	text := limits.CutError("x" + strings.Repeat("é", limits.MaxError))
	require.Len(t, text, limits.MaxError-1)
	require.True(t, utf8.ValidString(text))
	require.Len(t, limits.CutError(strings.Repeat("\x80", 2*limits.MaxError)), limits.MaxError-utf8.UTFMax)
}

func TestOverlongNamesDoNotFillLogs(t *testing.T) {
	err := cached.Key("cache: get", strings.Repeat("k", 1000), cache.Guard{})

	require.Less(t, len(err.Error()), 300)
}
