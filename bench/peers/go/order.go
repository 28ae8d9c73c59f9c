package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v4"
)

type newOrder struct {
	Lines []struct {
		ProductID int64 `json:"product_id"`
		Quantity  int32 `json:"quantity"`
	} `json:"lines"`
}

type stocked struct {
	name, price string
	stock       int32
}

// placeOrder locks the items, checks their stock, inserts the order and its lines, and takes the stock.
func (s *shop) placeOrder(w http.ResponseWriter, r *http.Request, id int64) error {
	var wanted newOrder
	if json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<17)).Decode(&wanted) != nil || len(wanted.Lines) == 0 {
		return invalid
	}
	ids, quantities := make([]int64, len(wanted.Lines)), make([]int32, len(wanted.Lines))
	for i, each := range wanted.Lines {
		if each.Quantity < 1 {
			return invalid
		}
		ids[i], quantities[i] = each.ProductID, each.Quantity
	}
	placed := order{UserID: id, Lines: make([]line, len(ids))}
	err := s.pool.BeginFunc(r.Context(), func(tx pgx.Tx) error {
		found, err := lockItems(tx, r, ids)
		if err != nil {
			return err
		}
		names, prices := make([]string, len(ids)), make([]string, len(ids))
		var cents int64
		for i, product := range ids {
			row, ok := found[product]
			if !ok {
				return notFound
			} else if row.stock < quantities[i] {
				return outOfStock
			}
			price, err := strconv.ParseInt(strings.Replace(row.price, ".", "", 1), 10, 64)
			if err != nil {
				return err
			}
			cents += price * int64(quantities[i])
			names[i], prices[i] = row.name, row.price
			placed.Lines[i] = line{product, row.name, quantities[i], row.price}
		}
		placed.Total = fmt.Sprintf("%d.%02d", cents/100, cents%100)
		err = tx.QueryRow(r.Context(), `INSERT INTO orders (user_id, total) VALUES ($1, $2::text::numeric)
			RETURNING id, status, created_at`, id, placed.Total).Scan(&placed.ID, &placed.Status, &placed.CreatedAt)
		if err != nil {
			return err
		}
		_, err = tx.Exec(r.Context(), `INSERT INTO order_lines (order_id, product_id, name, quantity, unit_price)
			SELECT $1, product, name, quantity, price::numeric
			FROM unnest($2::bigint[], $3::text[], $4::integer[], $5::text[]) AS l (product, name, quantity, price)`,
			placed.ID, ids, names, quantities, prices)
		if err != nil {
			return err
		}
		_, err = tx.Exec(r.Context(), `UPDATE items SET stock = stock - taken.quantity
			FROM unnest($1::bigint[], $2::integer[]) AS taken (id, quantity) WHERE items.id = taken.id`, ids, quantities)
		return err
	})
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, placed)
}

func lockItems(tx pgx.Tx, r *http.Request, ids []int64) (map[int64]stocked, error) {
	rows, err := tx.Query(r.Context(), `SELECT id, name, price::text, stock FROM items
		WHERE id = ANY ($1) ORDER BY id FOR UPDATE`, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make(map[int64]stocked, len(ids))
	for rows.Next() {
		var id int64
		var row stocked
		if err := rows.Scan(&id, &row.name, &row.price, &row.stock); err != nil {
			return nil, err
		}
		found[id] = row
	}
	return found, rows.Err()
}
