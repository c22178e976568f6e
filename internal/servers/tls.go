package servers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// TLS names the PEM files of a little certificate authority, a server's certificate for localhost and a client's.
type TLS struct {
	CA                    string
	ServerCert, ServerKey string
	ClientCert, ClientKey string
}

// NewTLS makes all of it in a folder, good for a day.
func NewTLS(dir string) (*TLS, error) {
	files := &TLS{
		CA:         filepath.Join(dir, "ca.pem"),
		ServerCert: filepath.Join(dir, "server.pem"), ServerKey: filepath.Join(dir, "server.key"),
		ClientCert: filepath.Join(dir, "client.pem"), ClientKey: filepath.Join(dir, "client.key"),
	}
	ca, err := issue(certificate("test authority", true), nil)
	if err != nil {
		return nil, err
	}
	server, err := issue(certificate("localhost", false), ca)
	if err != nil {
		return nil, err
	}
	client, err := issue(certificate("client", false), ca)
	if err != nil {
		return nil, err
	}
	for path, block := range map[string]*pem.Block{
		files.CA:         ca.certBlock(),
		files.ServerCert: server.certBlock(), files.ServerKey: server.keyBlock,
		files.ClientCert: client.certBlock(), files.ClientKey: client.keyBlock,
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, fmt.Errorf("servers: write certificate: %w", err)
		}
	}
	return files, nil
}

// Config is what a client needs to connect: it trusts the authority and shows the client's certificate.
func (t *TLS) Config() (*tls.Config, error) {
	authority, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("servers: read authority: %w", err)
	}
	client, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
	if err != nil {
		return nil, fmt.Errorf("servers: read client certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{client}}, nil
}

type issued struct {
	cert     *x509.Certificate
	key      *ecdsa.PrivateKey
	keyBlock *pem.Block
}

func (i *issued) certBlock() *pem.Block { return &pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw} }

func certificate(name string, authority bool) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62)) // crypto/rand does not fail
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true, IsCA: authority,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if authority {
		c.KeyUsage = x509.KeyUsageCertSign
		return c
	}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	return c
}

// issue signs a certificate with by, or with itself.
func issue(template *x509.Certificate, by *issued) (*issued, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("servers: make key: %w", err)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, fmt.Errorf("servers: make certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("servers: make certificate: %w", err)
	}
	encoded, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("servers: make key: %w", err)
	}
	return &issued{cert: cert, key: key, keyBlock: &pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}}, nil
}
