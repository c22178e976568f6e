package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/gobackplane/backplane/internal/servers"
	"github.com/gobackplane/backplane/internal/testserver"
)

// verdict is what is promised of the format, to the letter.
type verdict struct {
	Transport    string `json:"transport"`
	Passed       int    `json:"passed"`
	Failed       int    `json:"failed"`
	Refused      int    `json:"refused"`
	NotExercised int    `json:"not_exercised"`
	Waived       int    `json:"waived"`
	Summary      string `json:"summary"`
	Badge        string `json:"badge"`
	Started      string `json:"started"`
	MS           int64  `json:"ms"`
	Seed         uint64 `json:"seed"`
	Rounds       int    `json:"rounds"`
	Levels       []struct {
		Concern string `json:"concern"`
		Level   string `json:"level"`
		Missing string `json:"missing"`
	} `json:"levels"`
	Cases []struct {
		Name        string   `json:"name"`
		Result      string   `json:"result"`
		Clause      string   `json:"clause"`
		Link        string   `json:"link"`
		MS          *int64   `json:"ms"`
		LimitMS     int64    `json:"limit_ms"`
		Runs        int      `json:"runs"`
		RunsFailed  int      `json:"runs_failed"`
		Reason      string   `json:"reason"`
		Failures    []any    `json:"failures"`
		CallsBefore int      `json:"calls_before"`
		Calls       []any    `json:"calls"`
		Drawings    []string `json:"drawings"`
	} `json:"cases"`
}

// level is that of a concern.
func (v verdict) level(concern string) string {
	for _, l := range v.Levels {
		if l.Concern == concern {
			return l.Level
		}
	}
	return ""
}

func decodeVerdict(t *testing.T, stdout string) verdict {
	t.Helper()
	var v verdict
	d := json.NewDecoder(strings.NewReader(stdout))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&v))
	require.ErrorIs(t, d.Decode(&v), io.EOF, "one object and nothing else")
	counts := map[string]int{}
	for _, c := range v.Cases {
		counts[c.Result]++
		require.NotEmpty(t, c.Name)
		require.NotEmpty(t, c.Clause, c.Name)
		require.NotNil(t, c.MS, c.Name)
		require.Positive(t, c.LimitMS, c.Name)
		require.Positive(t, c.Runs, c.Name)
		require.Equal(t, c.Result == "pass", c.Reason == "", "%s: %s: %s", c.Name, c.Result, c.Reason)
	}
	for result, n := range map[string]int{
		"pass": v.Passed, "fail": v.Failed, "refused": v.Refused, "not-exercised": v.NotExercised, "waived": v.Waived,
	} {
		require.Equal(t, counts[result], n, result)
		delete(counts, result)
	}
	require.Empty(t, counts, "results that nobody was promised")
	return v
}

func TestConformanceJSON(t *testing.T) {
	targets(t, func(t *testing.T, transport string) {
		code, stdout, stderr := invoke(t, "conformance", "--transport", transport, "--format", "json", "--run", "cache/lock,queue/claim")

		require.Zero(t, code, stderr)
		require.Empty(t, stderr, "no progress where there is no terminal")
		v := decodeVerdict(t, stdout)
		kind, _, _ := strings.Cut(transport, ":")
		require.Equal(t, kind, v.Transport)
		require.Positive(t, v.Passed)
		require.Zero(t, v.Failed)
		for _, c := range v.Cases {
			require.True(t, strings.HasPrefix(c.Name, "cache/lock/") || strings.HasPrefix(c.Name, "queue/claim/"), c.Name)
		}
	})
}

func TestConformanceLeavesNothingInTheStore(t *testing.T) {
	t.Parallel()
	server := testserver.Redis(t, servers.RedisOptions{})
	options, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	store := redis.NewClient(options)
	defer store.Close()
	require.NoError(t, store.MSet(t.Context(), "mine", "x", "bp:shop:e:{bp:conform-}", "y").Err())
	config := filepath.Join(t.TempDir(), "mixed.yaml")
	require.NoError(t, os.WriteFile(config, []byte(`
transports: { store: { url: "`+server.URL()+`" }, bus: { url: "memory:`+t.Name()+`" } }
use:        { cache: store, queue: store, pubsub: bus }
`), 0o600))

	for _, target := range [][]string{{"--transport", server.URL()}, {"--config", config}} {
		code, stdout, stderr := invoke(t, append([]string{"conformance", "--run", "queue/unique,queue/settle,cache/list,cache/lock,pubsub/group"}, target...)...)

		require.Zero(t, code, stdout, stderr)
		require.EqualValues(t, 2, store.DBSize(t.Context()).Val(), "only what was there before: %s", store.Keys(t.Context(), "*").Val())
	}
}

// Redis keeps, NATS carries: each concern is as good as on a transport that has all four.
func TestConformanceOfRedisAndNATSMixed(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "mixed.yaml")
	require.NoError(t, os.WriteFile(config, []byte(`
transports: { store: { url: "`+testserver.Redis(t).URL()+`" }, bus: { url: "`+testserver.NATS(t).URL()+`" } }
use:        { cache: store, queue: store, pubsub: bus, rpc: bus }
`), 0o600))

	code, stdout, stderr := invoke(t, "conformance", "--config", config, "--format", "json")

	require.Zero(t, code, stdout, stderr)
	v := decodeVerdict(t, stdout)
	require.Equal(t, config, v.Transport)
	require.Zero(t, v.Failed)
	require.Greater(t, v.Passed, 500)
}

func TestConformanceOfAllOnMemoryAsText(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := invoke(t, "conformance", "--transport", "memory:")

	require.Zero(t, code, stdout, stderr)
	require.Regexp(t, `\nmemory: \d{3} passed, 0 failed, `, stdout)
	require.Empty(t, stderr, "what the cases provoke is not logged unless --log asks for it")
}

func TestConformanceFailsWithAFailingCase(t *testing.T) {
	t.Parallel()
	// Without --faults the command offers no hooks: to require them fails the cases that need one.
	code, stdout, stderr := invoke(t, "conformance", "--transport", "memory:", "--run", "transport/links", "--require-hooks", "--format", "json")

	require.Equal(t, exitFailed, code, stderr)
	require.Empty(t, stderr, "the report says it all")
	v := decodeVerdict(t, stdout)
	require.Positive(t, v.Failed)
}

func TestConformanceJUnitIsWellFormed(t *testing.T) {
	t.Parallel()
	_, stdout, stderr := invoke(t, "conformance", "--transport", "memory:", "--run", "transport/*", "--require-hooks", "--format", "junit")
	require.Empty(t, stderr)

	var suite struct {
		XMLName  xml.Name `xml:"testsuite"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Cases    []struct {
			Name    string    `xml:"name,attr"`
			Failure *struct{} `xml:"failure"`
		} `xml:"testcase"`
	}
	d := xml.NewDecoder(strings.NewReader(stdout))
	d.Strict = true
	require.NoError(t, d.Decode(&suite))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.IsType(t, xml.CharData{}, token, "one root element")
	}
	require.Len(t, suite.Cases, suite.Tests)
	failed := 0
	for _, c := range suite.Cases {
		if c.Failure != nil {
			failed++
		}
	}
	require.Positive(t, failed)
	require.Equal(t, suite.Failures, failed)
}

func TestConformanceMarkdown(t *testing.T) {
	t.Parallel()
	code, stdout, _ := invoke(t, "conformance", "--transport", "memory:", "--run", "cache", "--format", "markdown")

	require.Zero(t, code)
	require.Contains(t, stdout, "| concern | level | kept |")
}

func TestConformanceOfAConfigChecksEachConcernWhereItIsUsed(t *testing.T) {
	t.Parallel()
	server := testserver.Shared(t)
	path := filepath.Join(t.TempDir(), "backplane.yaml")
	config := "cluster: {name: shop, insecure: true}\ntransports:\n  store: {url: '" + server.URL() + "'}\n  bus: {url: 'memory:'}\nuse: {cache: store, pubsub: bus}\n"
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))

	code, stdout, stderr := invoke(t, "conformance", "--config", path, "--format", "json", "--run", "cache/entry,pubsub/subject,queue/claim")

	require.Zero(t, code, stdout, stderr)
	v := decodeVerdict(t, stdout)
	require.Equal(t, path, v.Transport)
	require.Positive(t, v.Passed)
	for _, c := range v.Cases {
		if strings.HasPrefix(c.Name, "queue/") {
			require.True(t, slices.Contains([]string{"refused", "not-exercised"}, c.Result), "%s: the config names no queue, yet: %s", c.Name, c.Result)
		}
	}
}
