#!/bin/sh
# Knows nothing of tokens: psql, and where to connect.
psql -XqAt -c "select country, count(*) from customers group by country order by country"
