// What DatabaseMetaData and statements of JDBC say of a market, a line each; test_postgres_clients.py reads it.

import java.sql.*;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.util.Properties;

class Browse {
    private static void rows(String name, ResultSet rows) throws SQLException {
        int columns = rows.getMetaData().getColumnCount();
        while (rows.next()) {
            StringBuilder line = new StringBuilder(name);
            for (int column = 1; column <= columns; column++) {
                line.append('|').append(rows.getObject(column));
            }
            System.out.println(line);
        }
    }

    private static void refused(String name, Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(sql);
            System.out.println(name + "|no error");
        } catch (SQLException error) {
            System.out.println(name + "|" + error.getSQLState());
        }
    }

    public static void main(String[] words) throws SQLException {
        Properties properties = new Properties();
        properties.put("user", "anybody");
        properties.put("password", "none");
        try (Connection connection = DriverManager.getConnection(words[0], properties)) {
            DatabaseMetaData about = connection.getMetaData();
            System.out.println("product|" + about.getDatabaseProductName() + "|" + connection.getSchema() + "|" + connection.isValid(5));
            try (ResultSet found = about.getTables(null, null, "%", new String[] {"TABLE", "VIEW"})) {
                while (found.next()) {
                    System.out.println("table|" + found.getString("TABLE_SCHEM") + "|" + found.getString("TABLE_NAME") + "|" + found.getString("TABLE_TYPE"));
                }
            }
            try (ResultSet found = about.getColumns(null, "main", "kinds", null)) {
                while (found.next()) {
                    System.out.println("column|" + found.getString("COLUMN_NAME") + "|" + found.getString("TYPE_NAME") + "|" + found.getInt("COLUMN_SIZE")
                        + "|" + found.getInt("DECIMAL_DIGITS") + "|" + found.getInt("NULLABLE") + "|" + found.getString("REMARKS"));
                }
            }
            try (ResultSet found = about.getSchemas()) {
                while (found.next()) {
                    System.out.println("schema|" + found.getString("TABLE_SCHEM"));
                }
            }
            try (ResultSet found = about.getFunctions(null, null, "scan_breakout")) {
                while (found.next()) {
                    System.out.println("function|" + found.getString("FUNCTION_NAME"));
                }
            }
            try (ResultSet found = about.getFunctionColumns(null, null, "scan_breakout", "cutoff%")) {
                while (found.next()) {
                    System.out.println("argument|" + found.getString("COLUMN_NAME"));
                }
            }
            // What tools ask for, and of which there is nothing here.
            for (ResultSet none : new ResultSet[] {
                about.getPrimaryKeys(null, "main", "bars"), about.getImportedKeys(null, "main", "bars"), about.getExportedKeys(null, "main", "bars"),
                about.getIndexInfo(null, "main", "bars", false, true), about.getProcedures(null, null, "%"), about.getUDTs(null, null, "%", null)
            }) {
                rows("unexpected", none);
            }
            for (ResultSet some : new ResultSet[] {about.getTypeInfo(), about.getCatalogs(), about.getTableTypes(), about.getTablePrivileges(null, null, "bars")}) {
                System.out.println("some|" + some.next());
            }
            try (Statement statement = connection.createStatement()) {
                rows("kind", statement.executeQuery("SELECT * FROM kinds"));
            }
            // The sixth time, the driver has prepared the statement and asks for values in binary.
            String sql = "SELECT symbol, price FROM scan_breakout(?, ?, min_price := ?) ORDER BY symbol";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                for (int time = 0; time < 7; time++) {
                    statement.setString(1, "2025-01-15");
                    statement.setString(2, "09:50");
                    statement.setInt(3, 1);
                    rows("scan" + time, statement.executeQuery());
                }
            }
            sql = "SELECT count(*) FROM bars WHERE ts >= ? AND ts < ? AND ts::DATE = ? AND symbol = ANY(?) AND close > ?";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                for (int time = 0; time < 7; time++) {
                    statement.setTimestamp(1, Timestamp.valueOf("2025-01-15 09:20:00"));
                    statement.setObject(2, LocalDateTime.parse("2025-01-15T09:50:00"));
                    statement.setDate(3, Date.valueOf("2025-01-15"));
                    statement.setArray(4, connection.createArrayOf("text", new String[] {"DEMO0001", "DEMO0002"}));
                    statement.setBigDecimal(5, new java.math.BigDecimal("0.01"));
                    rows("count" + time, statement.executeQuery());
                }
            }
            try (PreparedStatement statement = connection.prepareStatement("SELECT symbol, close FROM bars WHERE ts::DATE = ?")) {
                statement.setObject(1, LocalDate.parse("2025-01-15"));
                ResultSetMetaData columns = statement.getMetaData();
                System.out.println("described|" + columns.getColumnName(1) + "|" + columns.getColumnTypeName(2));
            }
            connection.setAutoCommit(false);
            connection.setReadOnly(true);
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(700);
                ResultSet found = statement.executeQuery("SELECT * FROM bars LIMIT 2500");
                int count = 0;
                while (found.next()) {
                    count++;
                }
                System.out.println("fetched|" + count);
            }
            refused("failed", connection, "SELECT nothing");
            refused("aborted", connection, "SELECT 1");
            connection.rollback();
            connection.setAutoCommit(true);
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1);
                statement.executeQuery(words[1]);
                System.out.println("timeout|no error");
            } catch (SQLException error) {
                System.out.println("timeout|" + error.getSQLState());
            }
            refused("written", connection, "DELETE FROM bars");
            rows("last", connection.createStatement().executeQuery("SELECT 1"));
        }
    }
}
