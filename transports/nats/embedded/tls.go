package embedded

import (
	"crypto/tls"
	"crypto/x509"
	"os"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/gobackplane/backplane/fault"
)

// handshake is how long one may take; a client that does not finish it holds a connection.
const handshake = 5 // seconds

// encrypt has the server speak nothing but TLS, with clients and with peers. With authorities, either must show a
// certificate of theirs, and so must the server to its peers: to them it is a client, too. The node's own connection stays
// within the process.
func (c config) encrypt(o *server.Options) error {
	if c.tlsCert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.tlsCert, c.tlsKey)
	if err != nil {
		return fault.New(fault.Invalid, "options tls_cert and tls_key: %w", err)
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	if c.tlsCA != "" {
		pem, err := os.ReadFile(c.tlsCA)
		if err != nil {
			return fault.New(fault.Invalid, "option tls_ca: %w", err)
		}
		authorities := x509.NewCertPool()
		if !authorities.AppendCertsFromPEM(pem) {
			return fault.New(fault.Invalid, "option tls_ca: %s holds no certificate in PEM form", c.tlsCA)
		}
		secure.ClientAuth, secure.ClientCAs, secure.RootCAs = tls.RequireAndVerifyClientCert, authorities, authorities
	}
	o.TLS, o.TLSVerify, o.TLSConfig, o.TLSTimeout = true, c.tlsCA != "", secure, handshake
	if c.clusterListen != "" {
		o.Cluster.TLSConfig, o.Cluster.TLSTimeout = secure.Clone(), handshake
	}
	return nil
}
