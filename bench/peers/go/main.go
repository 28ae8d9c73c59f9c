// The shop on Go's net/http and pgx: its pool, which prepares statements, and encoding/json.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

type item struct {
	ID          int64     `json:"id"`
	SKU         string    `json:"sku"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	Category    string    `json:"category"`
	Price       string    `json:"price"`
	Stock       int32     `json:"stock"`
	IsActive    bool      `json:"is_active"`
	Version     int32     `json:"version"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

type user struct {
	ID            int64     `json:"id"`
	Email         string    `json:"email"`
	FullName      string    `json:"full_name"`
	IsActive      bool      `json:"is_active"`
	IsAdmin       bool      `json:"is_admin"`
	EmailVerified bool      `json:"email_verified"`
	CreatedAt     time.Time `json:"created_at"`
}

type line struct {
	ProductID int64  `json:"product_id"`
	Name      string `json:"name"`
	Quantity  int32  `json:"quantity"`
	UnitPrice string `json:"unit_price"`
}

type order struct {
	ID        int64     `json:"id"`
	UserID    int64     `json:"user_id"`
	Status    string    `json:"status"`
	Total     string    `json:"total"`
	CreatedAt time.Time `json:"created_at"`
	Lines     []line    `json:"lines"`
}

// problem is an error that has a status of its own.
type problem struct {
	status int
	detail string
}

func (p problem) Error() string { return p.detail }

var (
	notFound   = problem{404, "Item not found"}
	notSigned  = problem{401, "Could not validate credentials"}
	outOfStock = problem{409, "Not enough stock"}
	invalid    = problem{422, "Invalid request"}
)

type shop struct {
	pool   *pgxpool.Pool
	tokens *tokens
}

const itemColumns = `id, sku, name, description, category, price::text, stock, is_active, version, created_at, updated_at`

func scanItem(row pgx.Row) (item, error) {
	var i item
	err := row.Scan(&i.ID, &i.SKU, &i.Name, &i.Description, &i.Category, &i.Price, &i.Stock, &i.IsActive,
		&i.Version, &i.CreatedAt, &i.UpdatedAt)
	return i, err
}

func (s *shop) item(w http.ResponseWriter, r *http.Request, _ int64) error {
	id, err := strconv.ParseInt(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:], 10, 64)
	if err != nil {
		return notFound
	}
	found, err := scanItem(s.pool.QueryRow(r.Context(), `SELECT `+itemColumns+` FROM items WHERE id = $1`, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return notFound
	} else if err != nil {
		return err
	}
	tag := `"` + strconv.Itoa(int(found.Version)) + `"`
	w.Header().Set("ETag", tag)
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return answer(w, http.StatusOK, found)
}

func (s *shop) items(w http.ResponseWriter, r *http.Request, _ int64) error {
	query := r.URL.Query()
	sql, args := `SELECT `+itemColumns+` FROM items ORDER BY id LIMIT $1`, []any{limit(r)}
	if words := query.Get("search"); words != "" {
		sql = `SELECT ` + itemColumns + ` FROM items, websearch_to_tsquery('english', $2) AS query
			WHERE search @@ query ORDER BY ts_rank(search, query) DESC, id LIMIT $1`
		args = append(args, words)
	}
	rows, err := s.pool.Query(r.Context(), sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	found := make([]item, 0, 20)
	for rows.Next() {
		next, err := scanItem(rows)
		if err != nil {
			return err
		}
		found = append(found, next)
	}
	if rows.Err() != nil {
		return rows.Err()
	}
	return answer(w, http.StatusOK, found)
}

func (s *shop) profile(w http.ResponseWriter, r *http.Request, id int64) error {
	var u user
	err := s.pool.QueryRow(r.Context(), `SELECT id, email, full_name, is_active, is_admin, email_verified, created_at
		FROM users WHERE id = $1`, id).
		Scan(&u.ID, &u.Email, &u.FullName, &u.IsActive, &u.IsAdmin, &u.EmailVerified, &u.CreatedAt)
	if errors.Is(err, pgx.ErrNoRows) {
		return notSigned
	} else if err != nil {
		return err
	}
	return answer(w, http.StatusOK, u)
}

func (s *shop) ownOrders(w http.ResponseWriter, r *http.Request, id int64) error {
	rows, err := s.pool.Query(r.Context(), `SELECT id, user_id, status, total::text, created_at FROM orders
		WHERE user_id = $1 ORDER BY id DESC LIMIT $2`, id, limit(r))
	if err != nil {
		return err
	}
	defer rows.Close()
	found, ids, places := make([]order, 0, 20), make([]int64, 0, 20), map[int64]int{}
	for rows.Next() {
		o := order{Lines: []line{}}
		if err := rows.Scan(&o.ID, &o.UserID, &o.Status, &o.Total, &o.CreatedAt); err != nil {
			return err
		}
		places[o.ID] = len(found)
		found, ids = append(found, o), append(ids, o.ID)
	}
	if rows.Err() != nil {
		return rows.Err()
	}
	lines, err := s.pool.Query(r.Context(), `SELECT order_id, product_id, name, quantity, unit_price::text
		FROM order_lines WHERE order_id = ANY ($1) ORDER BY id`, ids)
	if err != nil {
		return err
	}
	defer lines.Close()
	for lines.Next() {
		var of int64
		var l line
		if err := lines.Scan(&of, &l.ProductID, &l.Name, &l.Quantity, &l.UnitPrice); err != nil {
			return err
		}
		found[places[of]].Lines = append(found[places[of]].Lines, l)
	}
	if lines.Err() != nil {
		return lines.Err()
	}
	return answer(w, http.StatusOK, found)
}

func (s *shop) orders(w http.ResponseWriter, r *http.Request, id int64) error {
	switch r.Method {
	case http.MethodGet:
		return s.ownOrders(w, r, id)
	case http.MethodPost:
		return s.placeOrder(w, r, id)
	}
	return problem{405, "Method not allowed"}
}

func limit(r *http.Request) int {
	if n, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && n > 0 && n <= 100 {
		return n
	}
	return 10
}

func answer(w http.ResponseWriter, status int, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, err = w.Write(text)
	return err
}

type handler func(http.ResponseWriter, *http.Request, int64) error

// recorder keeps the status for the access log.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (s *shop) route(signedIn bool, next handler) http.HandlerFunc {
	return func(inner http.ResponseWriter, r *http.Request) {
		began := time.Now()
		w := &recorder{inner, http.StatusOK}
		var id int64
		var err error
		if signedIn {
			id, err = s.tokens.userID(r.Header.Get("Authorization"))
		}
		if err == nil {
			err = next(w, r, id)
		}
		if err != nil {
			var known problem
			if !errors.As(err, &known) {
				known = problem{500, "Internal server error"}
				log.Print(err)
			}
			_ = answer(w, known.status, map[string]string{"detail": known.detail})
		}
		access.Printf(`{"method":%q,"path":%q,"status":%d,"us":%d}`, r.Method, r.URL.RequestURI(), w.status,
			time.Since(began).Microseconds())
	}
}

var access = log.New(os.Stdout, "", 0)

func main() {
	pool, err := pgxpool.Connect(context.Background(), os.Getenv("DATABASE_URL")+"?sslmode=disable&pool_max_conns=7")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	known, err := newTokens(os.Getenv("JWT_PUBLIC_KEY"))
	if err != nil {
		log.Fatal(err)
	}
	s := &shop{pool, known}
	mux := http.NewServeMux()
	mux.HandleFunc("/items", s.route(false, s.items))
	mux.HandleFunc("/items/", s.route(false, s.item))
	mux.HandleFunc("/members/items", s.route(true, s.items))
	mux.HandleFunc("/members/items/", s.route(true, s.item))
	mux.HandleFunc("/profile", s.route(true, s.profile))
	mux.HandleFunc("/orders", s.route(true, s.orders))
	server := &http.Server{
		Addr:              "127.0.0.1:" + os.Getenv("PORT"),
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		// Otherwise it is ReadHeaderTimeout, and connections are closed while other services are asked.
		IdleTimeout: 10 * time.Minute,
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-ended
		_ = server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
