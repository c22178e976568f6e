package servers

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// NATSCluster is several nats-servers that form one cluster, with JetStream over all of them.
type NATSCluster struct {
	Nodes []*NATS
}

// StartNATSCluster starts size servers and returns when JetStream can keep a stream on all of them.
func StartNATSCluster(ctx context.Context, size int, o NATSOptions) (*NATSCluster, error) {
	o.ClusterName = "c" + nuid.Next()
	ports := make([]int, size)
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
		route := url.URL{Scheme: "nats", Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[i]))}
		o.Routes = append(o.Routes, route.String())
	}
	c := &NATSCluster{}
	for i := range size {
		each := o
		each.Name = fmt.Sprintf("%s-%d", o.ClusterName, i)
		each.ClusterPort = ports[i]
		node, err := StartNATS(ctx, each)
		if err != nil {
			c.Stop()
			return nil, err
		}
		c.Nodes = append(c.Nodes, node)
	}
	if err := c.Await(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// Await returns when JetStream can keep a stream on all servers: it makes one, and removes it.
func (c *NATSCluster) Await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clusterPatience)
	defer cancel()
	for {
		last := c.probe(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("servers: the nats cluster is not ready: %w (%w)", last, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

const clusterPatience = 30 * time.Second

func (c *NATSCluster) probe(ctx context.Context) error {
	if c.Nodes[0].options.NoJetStream {
		return nil
	}
	urls := make([]string, len(c.Nodes))
	for i, node := range c.Nodes {
		urls[i] = node.URL()
	}
	options := []nats.Option{nats.Timeout(time.Second)}
	secure, err := c.Nodes[0].ClientTLS()
	if err != nil {
		return err
	}
	if secure != nil {
		options = append(options, nats.Secure(secure))
	}
	nc, err := nats.Connect(strings.Join(urls, ","), options...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	name := "probe-" + nuid.Next()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name}, Replicas: len(c.Nodes)}); err != nil {
		return err
	}
	return js.DeleteStream(ctx, name)
}

// Stop ends all servers and removes the folders that were made for them.
func (c *NATSCluster) Stop() {
	for _, node := range c.Nodes {
		node.Stop()
	}
}
