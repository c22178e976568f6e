package backplane

import (
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/gobackplane/backplane/transports"
)

// URL is the one-line config: one transport for everything that it offers.
//
//	backplane.URL("redis://127.0.0.1:6379")                // with a key in BACKPLANE_KEY
//	backplane.URL("redis://127.0.0.1:6379?insecure=true")  // without, for a laptop
//	backplane.URL("memory:")                               // one process, no key needed
//
// The query may hold cluster=NAME, node=NAME and insecure=true, which are ours; the rest is the transport's.
// What is wrong with the URL is told by [Open].
func URL(address string) Config {
	var c Config
	base, query, _ := strings.Cut(address, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		c.err = invalid("url", "the query of %s does not parse", transports.Redact(address))
		return c
	}
	c.Cluster.Name = values.Get("cluster")
	c.Node.Name = values.Get("node")
	if s := values.Get("insecure"); s != "" {
		if c.Cluster.Insecure, err = strconv.ParseBool(s); err != nil {
			c.err = invalid("url", "insecure=%s: write true or false", s)
		}
	}
	for _, ours := range []string{"cluster", "node", "insecure"} {
		values.Del(ours)
	}
	if len(values) > 0 {
		base += "?" + values.Encode()
	}
	if key := os.Getenv(KeyVariable); key != "" {
		c.Cluster.Keys = []string{key}
	}
	c.Transports = map[string]TransportConfig{"default": {URL: base}}
	return c
}
