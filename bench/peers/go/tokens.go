package main

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"time"
)

type claims struct {
	Subject string `json:"sub"`
	Expires int64  `json:"exp"`
}

// tokens verifies access tokens (ES256) and remembers those that it has verified.
type tokens struct {
	key      *ecdsa.PublicKey
	lock     sync.RWMutex
	verified map[string]claims
}

const remembered = 1000

func newTokens(text string) (*tokens, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("JWT_PUBLIC_KEY is no PEM")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, errors.New("JWT_PUBLIC_KEY is no EC key")
	}
	return &tokens{key: public, verified: map[string]claims{}}, nil
}

func (t *tokens) userID(header string) (int64, error) {
	if !strings.HasPrefix(header, "Bearer ") {
		return 0, notSigned
	}
	token := header[len("Bearer "):]
	t.lock.RLock()
	found, known := t.verified[token]
	t.lock.RUnlock()
	if !known {
		var err error
		if found, err = t.verify(token); err != nil {
			return 0, notSigned
		}
		t.lock.Lock()
		if len(t.verified) >= remembered {
			t.verified = map[string]claims{}
		}
		t.verified[token] = found
		t.lock.Unlock()
	}
	if found.Expires <= time.Now().Unix() {
		return 0, notSigned
	}
	return strconv.ParseInt(found.Subject, 10, 64)
}

func (t *tokens) verify(token string) (claims, error) {
	var found claims
	var head struct {
		Algorithm string `json:"alg"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || part(parts[0], &head) != nil || head.Algorithm != "ES256" || part(parts[1], &found) != nil {
		return found, notSigned
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil || len(signature) != 64 {
		return found, notSigned
	}
	hash := sha256.Sum256([]byte(token[:len(token)-len(parts[2])-1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	if !ecdsa.Verify(t.key, hash[:], r, s) {
		return found, notSigned
	}
	return found, nil
}

func part(text string, into any) error {
	bytes, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	return json.Unmarshal(bytes, into)
}
